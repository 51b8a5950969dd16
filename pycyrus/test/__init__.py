"""Tests; the tree mirrors the package."""

from hypothesis import HealthCheck, settings

# Nothing depends on how fast the machine is, nor on what failed in another run; what fails is told so that it can be
# done again.  In continuous integration Hypothesis has chosen the same examples each time, which stays so.
settings.register_profile(
    "pycyrus",
    settings.default,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pycyrus")

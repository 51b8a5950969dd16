"""
How much of a message is taken apart.

No message is refused for its structure: what lies beyond a limit is opaque
text.  Together the limits keep time and memory linear in the size of the
message, with small factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Limits for one message.

    @ivar parts: Parts of any kind, in the whole message.
    @ivar depth: Parts within parts.
    @ivar header: Octets of one header that are read for fields.
    @ivar fields: Fields of one header that are looked at.
    @ivar field: Octets of one field's value that are used.
    @ivar addresses: Addresses in all envelopes of the message together.
    @ivar parameters: Parameters of one Content-Type or Content-Disposition.
    @ivar all_parameters: Parameters in the whole message.
    @ivar boundary: Octets of a multipart boundary (RFC 2046 section 5.1.1
        has 70).
    @ivar lookalikes: Lines that only begin like a boundary.
    @ivar scan_factor: How often, on average, an octet may be looked at for
        boundaries and line ends; each level of nesting looks at it once more.
    @ivar cached_headers: Octets of cached header fields; with more, the
        header is read from the message file instead.
    """

    parts: int = 5_000
    depth: int = 100
    header: int = 1024 * 1024
    fields: int = 5_000
    field: int = 256 * 1024
    addresses: int = 10_000
    parameters: int = 200
    all_parameters: int = 20_000
    boundary: int = 512
    lookalikes: int = 20_000
    scan_factor: int = 32
    cached_headers: int = 32 * 1024


DEFAULT_LIMITS = Limits()

_SMALL: Final = 8 * 1024 * 1024
"""What may be scanned of any message, so that small ones have the whole depth."""


class Budget:
    """
    What is left of the limits that count over a whole message.

    @ivar parts: Parts that may still be found.
    @ivar addresses: Addresses that may still be rendered.
    @ivar lookalikes: Lines like boundaries that may still be passed over.
    @ivar parameters: Parameters that may still be kept.
    @ivar octets: Octets that may still be scanned.
    """

    __slots__ = ("addresses", "lookalikes", "octets", "parameters", "parts")

    def __init__(self, limits: Limits, size: int) -> None:
        self.parts = limits.parts
        self.addresses = limits.addresses
        self.lookalikes = limits.lookalikes
        self.parameters = limits.all_parameters
        self.octets = limits.scan_factor * size + _SMALL

    def scan(self, octets: int) -> bool:
        """Pay for a scan; False when it cannot be afforded."""
        if octets > self.octets:
            return False
        self.octets -= octets
        return True

A frontend does not use a backend whose NAMESPACE shows another separator or other prefixes than its own; the log and ``pycyrus murder status`` name the option at fault.

"""What the project costs its callers, measured in place: ``python -m benchmarks.tap`` and ``python -m benchmarks.emit``."""

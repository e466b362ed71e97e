"""What the project costs its callers, in place: ``python -m benchmarks.tap`` and ``python -m benchmarks.emit``."""

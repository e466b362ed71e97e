"""What the project costs its callers, in place: emit, disk, quiet, tap, scale. `make bench` runs all."""

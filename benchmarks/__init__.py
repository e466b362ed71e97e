"""What the project costs its callers, in place: tap, emit, disk, quiet. `make bench` runs all."""

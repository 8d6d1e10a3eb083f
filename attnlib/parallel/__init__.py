"""Many cores and many devices."""

"""Attention, exact and approximate: fn(q, k, v, …) on arrays."""

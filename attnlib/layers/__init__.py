"""Layers with parameters: fn(params, x, …)."""

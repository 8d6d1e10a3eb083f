"""What makes the book out of its chapters, and checks it. Each program runs as `python -m tools.NAME` in the root."""

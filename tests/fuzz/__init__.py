"""Hostile input: everything that reads bytes from outside, on anything. `python -m tests.fuzz` runs it at length."""

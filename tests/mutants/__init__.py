"""Sabotages of the worker, one a file, each with the tests that must notice it: `python -m tests.mutants`."""

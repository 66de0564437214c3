"""Checks by tools that are not Python's: `make checks` fetches them; `make test` does without."""

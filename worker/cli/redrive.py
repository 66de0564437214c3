"""`dead-letters redrive`: puts records that were not taken back into intake."""

import typer


def register(group: typer.Typer) -> None:
    """Add `redrive` to the group `dead-letters`."""

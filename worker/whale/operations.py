"""The registry: one entry per command type. The path reads it and has no `if command_type`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from worker.whale import assets, orders, temporary
from worker.whale.entry import Intent, Look, LookInput, Operation, Reader, Refusal, Variants, tag

__all__ = ["REGISTRY", "Intent", "Look", "LookInput", "Operation", "Reader", "Refusal", "Variants", "tag"]

REGISTRY: Final[Mapping[str, Operation]] = MappingProxyType(
    {entry.command_type: entry for entry in (*assets.ENTRIES, *temporary.ENTRIES, *orders.ENTRIES)}
)

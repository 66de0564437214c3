"""Everything that must be in order for the worker to do its work: one line each, with what to do where it is not.

database   the server, its clock and revision, and what waits in its tables
kafka      the cluster, its topics, and whether it and the database fit together
brokerage  whether it takes our signature, and its clock
"""

import platform
from collections.abc import Collection
from importlib.metadata import version

from worker.operate.doctor.brokerage import examine_brokerage
from worker.operate.doctor.check import Check
from worker.operate.doctor.database import examine_database
from worker.operate.doctor.kafka import examine_fit, examine_kafka
from worker.settings import Need, Settings

__all__ = ["Check", "examine"]


async def examine(settings: Settings, parts: Collection[Need]) -> list[Check]:
    """Look at all parts that have settings; never raises for what a part does, that is a check which is not ok."""
    ours = f"ledger-worker {version('ledger-worker')}, Python {platform.python_version()}, acting for {settings.actor}"
    checks = [Check("versions", ok=True, says=ours)]
    if "database" in parts:
        checks += await examine_database(settings)
    if "kafka" in parts:
        checks += await examine_kafka(settings)
    if all(any(one.name == name and one.ok for one in checks) for name in ("revision", "kafka")):
        checks += await examine_fit(settings)
    if "whale" in parts:
        checks += await examine_brokerage(settings)
    return checks

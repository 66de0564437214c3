"""What is sent: commands of differing keyedness for a few accounts, and the settings they meet; one seed, one scenario."""

import random  # noqa: TID251 - the twin's chance is its own, and comes from a seed
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from uuid import UUID

from tests.factories import payload
from tests.simulation.database import BEGINNING
from worker.settings import Settings
from worker.store.rows import CommandRow
from worker.whale.operations import REGISTRY

ALONE = ("cash.adjust", "cash.freeze", "order.place", "temp.adjust")
AFTER = {"order.place": ("order.withdraw", "order.modify"), "temp.adjust": ("temp.expire",)}
URGENT = frozenset(name for name, operation in REGISTRY.items() if operation.urgent)


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings that matter to decisions, in seconds."""

    timeout_s: float = 10.0
    lease_s: float = 22.0
    late_s: float = 20.0
    key_life_s: float = 60.0
    grace_s: float = 20.0
    sweep_s: float = 5.0
    notice_s: float = 5.0
    ahead_s: float = 1.0
    moment_s: float = 0.001  # how long after its end a lease is seen to be over
    memory_more_s: float = 20.0  # a resend may take effect as late as any call: the memory must reach so far


PROFILES = (
    Profile(),
    Profile(late_s=120.0, key_life_s=600.0, grace_s=120.0, lease_s=30.0, memory_more_s=120.0),  # as shipped
    Profile(late_s=0.0, key_life_s=0.0, grace_s=5.0, memory_more_s=0.0),
    Profile(late_s=60.0, key_life_s=15.0, grace_s=10.0, sweep_s=9.0, memory_more_s=60.0),
    Profile(timeout_s=2.0, lease_s=6.0, late_s=5.0, key_life_s=20.0, grace_s=6.0, sweep_s=6.0, memory_more_s=5.0),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Commands in the sequence in which they are accepted, and under which settings."""

    commands: tuple[CommandRow, ...]
    profile: Profile
    workers: int = 2


@cache
def settings_of(profile: Profile) -> Settings:
    """The worker's settings for a profile."""
    return Settings(
        whale_timeout_s=profile.timeout_s,
        lane_lease_s=profile.lease_s,
        late_apply_s=profile.late_s,
        whale_key_life_s=profile.key_life_s,
        sweep_grace_s=profile.grace_s,
        in_doubt_notice_s=profile.notice_s,
        expires_ahead_min_s=profile.ahead_s,
    )


def command(
    number: int,
    command_type: str,
    account_no: str,
    *,
    target: int | None = None,
    hour_s: float | None = None,
    not_after_s: float | None = None,
) -> CommandRow:
    """One command; `target` is the number of the command that it refers to, the hours count from the world's beginning."""
    reference = REGISTRY[command_type].reference
    changes = {reference: {"command_id": str(UUID(int=target))}} if reference and target is not None else {}
    return CommandRow(
        command_id=UUID(int=number),
        account_no=account_no,
        position=0,
        command_type=command_type,
        state="queued",
        payload=payload(command_type, **changes),
        issued_by=None,
        correlation_id=None,
        not_after=None if not_after_s is None else BEGINNING + timedelta(seconds=not_after_s),
        expires_at=None if hour_s is None else BEGINNING + timedelta(seconds=hour_s),
        traceparent=None,
        topic="t",
        epoch=0,
        partition=0,
        offset=number,
        accepted_at=BEGINNING,
        attempts=0,
        first_sent_at=None,
    )


def scenario(chance: random.Random) -> Scenario:
    """Draw 2 to 6 commands for 1 to 3 accounts; some refer to an earlier one, some may be too late."""
    accounts = [f"H{i}" for i in range(chance.randint(1, 3))]
    made: dict[str, list[tuple[int, str]]] = {account_no: [] for account_no in accounts}
    commands = []
    for number in range(1, chance.randint(2, 6) + 1):
        account_no = chance.choice(accounts)
        earlier = [(n, kind) for n, kind in made[account_no] if kind in AFTER]
        target = None
        if earlier and chance.random() < 0.7:
            target, kind = chance.choice(earlier)
            command_type = chance.choice(AFTER[kind])
        else:
            command_type = chance.choice(ALONE)
        hour_s = chance.uniform(5.0, 150.0) if command_type == "temp.adjust" else None
        not_after_s = chance.uniform(0.0, 120.0) if chance.random() < 0.15 else None
        commands.append(
            command(number, command_type, account_no, target=target, hour_s=hour_s, not_after_s=not_after_s)
        )
        made[account_no].append((number, command_type))
    return Scenario(tuple(commands), chance.choice(PROFILES), chance.choice((1, 2, 2, 3)))

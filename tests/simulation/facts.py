"""What `Facts.write` does, in the tables of `database`."""

from dataclasses import replace

from tests.simulation.database import Database, Timer, Watched, silence
from worker.store.facts import Facts
from worker.store.rows import AdjustmentRow


async def write_facts(facts: Facts, db: Database) -> None:
    """Do what `Facts.write` does: what is cleared goes first."""
    still_parked = {row["command_id"] for row in facts.reparked}
    for command_id in facts.doubts_cleared:
        db.doubts.pop((command_id, False), None)
        db.watches.pop(command_id, None)
        if command_id not in still_parked:
            db.parked.pop(command_id, None)
    for command_id in facts.expiry_doubts_cleared:
        db.doubts.pop((command_id, True), None)
    _add(facts, db)
    for row in facts.commands:
        command = db.commands[row["command_id"]]
        first = command.first_sent_at or row["first_sent_at"]
        db.commands[command.command_id] = command._replace(state=row["state"], first_sent_at=first)
    for row in facts.verdicts:
        db.verdicts[row["command_id"]] = row["verdict"]
    for row in facts.adjustments_ended:
        adjustment = db.adjustments[row["command_id"]]
        db.adjustments[row["command_id"]] = replace(adjustment, ended_by=row["ended_by"])
        db.timers.pop(row["command_id"], None)
        silence(db, row["command_id"], "expiry", row["ended_at"])
    for row in facts.looks_left:
        silence(db, row["command_id"], "look", row["decided_at"])
    _rearm(facts, db)
    for row in facts.doubts_parked:
        doubt = db.doubts.get((row["command_id"], False))
        if doubt is not None:
            db.doubts[row["command_id"], False] = {**doubt, "notice_at": None}
    for row in facts.reparked:
        db.parked[row["command_id"]] = False


def _rearm(facts: Facts, db: Database) -> None:
    for row in facts.timers_rearmed:
        timer = db.timers.get(row["command_id"])
        if timer is not None:
            early = row["wake_at"] < timer.due_at
            wake_at = row["wake_at"] if timer.fired_at else max(row["wake_at"], timer.due_at)
            fired_at = timer.fired_at if early else None
            db.timers[timer.command_id] = timer._replace(state="armed", wake_at=wake_at, fired_at=fired_at)


def _add(facts: Facts, db: Database) -> None:
    for row in facts.new.get("outcomes", ()):
        db.outcomes = (*db.outcomes, row["said"])
    for row in facts.new.get("numbers", ()):
        db.numbers.setdefault((row["kind"], row["number"]), (row["account_no"], row["command_id"]))
    for row in facts.new.get("temp_adjustments", ()):
        names = ("command_id", "account_no", "adjust_no", "op_user", "expires_at")
        db.adjustments.setdefault(row["command_id"], AdjustmentRow(*(row[name] for name in names), None))
    for row in facts.new.get("timers", ()):
        command_id = row["command_id"]
        timer = Timer(command_id, row["account_no"], row["kind"], "armed", row["due_at"], row["wake_at"])
        db.timers.setdefault(command_id, timer)
    doubts = facts.new.get("doubts", ())
    if len({(row["command_id"], row["is_expiry"]) for row in doubts}) < len(doubts):
        raise RuntimeError("ON CONFLICT DO UPDATE command cannot affect row a second time")
    for row in doubts:
        key = row["command_id"], row["is_expiry"]
        kept = db.doubts.get(key)
        db.doubts[key] = row if kept is None else {**kept, "reason": row["reason"]}
    for row in facts.new.get("parked", ()):
        db.parked[row["command_id"]] = row["in_doubt"]
    for row in facts.new.get("watches", ()):
        kept_watch = db.watches.get(row["command_id"])
        looks = kept_watch.looks if kept_watch else 0
        db.watches[row["command_id"]] = Watched(row["account_no"], row["look_at"], row["until_at"], looks)
    for row in facts.new.get("evidence", ()):
        if row["kind"] == "person":
            db.decided = (*db.decided, row["command_id"])

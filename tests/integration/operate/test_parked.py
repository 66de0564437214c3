"""What a person does with a parked command: back into its lane or ended, and only where nothing of it is in doubt."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, Typed
from tests.support.worker import run_worker_cli
from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.decide import SIGNATURE_ALONE, Known
from worker.ledger.verdicts import Confirmed, NotSent, Numbers
from worker.operate.parked import Asked, Way, decide, preview
from worker.operate.resolve import Applied, Said, resolve

WHY = ("--reason", "the key is renewed", "--yes")
ALONE = NotSent(SIGNATURE_ALONE, "HTTP 403, code 403201: signature")
AWAY = NotSent("refused_before_send", "connection refused")


async def unsent(desk: Desk, type_: str = "cash.adjust", **fields: Any) -> UUID:
    """Send a command whose signature is refused alone: it is parked, and nothing of it is in doubt."""
    command_id = await desk.send(type_, **fields)
    await desk.answer(ALONE)
    assert await desk.state(command_id) == "parked"
    return command_id


async def ask(desk: Desk, command_id: UUID, way: Way, actor: str = "ann") -> Any:
    return await decide(desk.engine, desk.settings, Asked(command_id, way, actor, "the key is renewed"))


async def test_a_redriven_command_goes_out_behind_those_that_wait_and_may_be_built_anew(desk: Desk) -> None:
    command_id = await unsent(desk)
    waiting = await desk.send("cash.freeze")
    told = await preview(desk.engine, desk.settings, Asked(command_id, Way.REDRIVE, "ann", "why"))
    assert "gets a new place, 3, at the tail of its lane; none has passed it" in told
    await desk.do("UPDATE attempts SET path = '/wrong'")
    assert (await ask(desk, command_id, Way.REDRIVE))["position"] == 3
    assert await desk.rows("SELECT 1 FROM parked") == []
    assert (await desk.answer(DONE)).command.command_id == waiting
    turn = await desk.claim()
    assert (turn.command.command_id, turn.number) == (command_id, 2)
    assert turn.request is not None
    assert turn.request.path != "/wrong"
    await desk.finish(turn, Confirmed(Numbers(serial_num="S2"), "inner_success"))
    told_last = await desk.last(command_id)
    assert (told_last["type"], told_last["decided_by"]) == ("command.succeeded", None)
    await desk.gapless()


async def test_a_redrive_wakes_an_idle_lane_and_its_24_hours_begin_anew(desk: Desk) -> None:
    command_id = await desk.send("cash.adjust")
    await desk.answer(AWAY)
    await desk.do("UPDATE attempts SET opened_at = opened_at - interval '25 h'")
    await desk.do("UPDATE lanes SET state = 'ready', ready_at = now(), wake_at = NULL, hold_reason = NULL")
    await desk.claim_nothing()
    assert await desk.state(command_id) == "parked"
    assert (await desk.one("SELECT state FROM lanes"))["state"] == "idle"
    await ask(desk, command_id, Way.REDRIVE)
    assert (await desk.answer(AWAY)).number == 2
    assert await desk.state(command_id) == "queued"
    assert await desk.known(command_id) == [Known.REDRIVEN, Known.NOT_SENT]
    lane = await desk.one("SELECT state, wake_at IS NOT NULL AS wakes FROM lanes")
    assert lane == {"state": "held", "wakes": True}


async def test_a_redriven_command_was_never_sent_and_may_be_cancelled(desk: Desk) -> None:
    command_id = await unsent(desk)
    await ask(desk, command_id, Way.REDRIVE)
    done = await desk.cli("commands", "cancel", str(command_id), *WHY)
    assert done.returncode == 0, done.stderr
    assert await desk.state(command_id) == "rejected"


async def test_a_command_is_parked_and_redriven_as_often_as_need_be(desk: Desk) -> None:
    command_id = await unsent(desk)
    for _ in range(2):
        await ask(desk, command_id, Way.REDRIVE)
        await desk.do("UPDATE commands SET payload = payload - 'currency'")  # no request can be made of it
        await desk.claim_nothing()
        assert await desk.state(command_id) == "parked"
    kinds = [one["type"] for one in await desk.outcomes(command_id)]
    assert kinds == ["command.parked"] * 3
    await desk.gapless()
    await ask(desk, command_id, Way.DISCARD)
    assert await desk.state(command_id) == "rejected"


async def test_a_redrive_past_not_after_is_rejected_as_too_late(desk: Desk) -> None:
    command_id = await unsent(desk)
    await desk.do("UPDATE commands SET not_after = now() - interval '1 s'")
    await ask(desk, command_id, Way.REDRIVE)
    await desk.claim_nothing()
    assert (await desk.last(command_id))["error"]["code"] == "TOO_LATE"


async def test_what_was_resent_in_doubt_once_keeps_its_bytes_when_it_is_redriven(desk: Desk) -> None:
    command_id = await desk.parked("cash.adjust")
    await desk.do("UPDATE attempts SET path = '/as-it-was-sent'")  # the settings may say otherwise now
    from_first = await desk.one("SELECT path, body FROM attempts")
    await desk.cli("in-doubt", "resolve", str(command_id), "--not-applied", "--resend", *WHY)
    await desk.answer(ALONE)
    assert await desk.state(command_id) == "parked"
    await ask(desk, command_id, Way.REDRIVE)
    turn = await desk.claim()
    assert turn.request is not None
    assert {"path": turn.request.path, "body": turn.request.body} == from_first


@pytest.mark.prints("parked discard")
async def test_a_discarded_command_ends_as_the_path_ends_one(desk: Desk) -> None:
    command_id = await unsent(desk)
    late = await desk.send("cash.adjust", not_after="2020-01-01T00:00:00Z")
    await desk.claim_nothing()
    path, before = await desk.last(late), await desk.one("SELECT state, head_position FROM lanes")
    done = await desk.cli("parked", "discard", str(command_id), *WHY)
    assert done.returncode == 0, done.stderr
    told = await desk.last(command_id)
    assert told.keys() == path.keys()
    assert {name: told[name] for name in ("type", "command_type", "result", "issued_by", "refers_to")} == {
        name: path[name] for name in ("type", "command_type", "result", "issued_by", "refers_to")
    }
    assert (told["error"]["code"], told["error"]["origin"], told["decided_by"]) == ("DISCARDED", "policy", "ann")
    assert (told["timing"]["first_sent_at"], told["timing"]["answered_at"]) == (None, None)
    known = await desk.one(
        "SELECT verdict, error ->> 'code' AS code FROM command_ids WHERE command_id = :id", id=command_id
    )
    assert known == {"verdict": "rejected", "code": "DISCARDED"}
    for table in ("parked", "dead_letters", "doubts"):
        assert await desk.rows(f"SELECT 1 FROM {table}") == []
    assert await desk.one("SELECT state, head_position FROM lanes") == before
    await desk.gapless()


async def test_an_applied_by_a_person_ends_as_an_answer_ends_one(desk: Desk) -> None:
    answered = await desk.booked("TA1")
    command_id = await desk.parked("temp.adjust")
    await resolve(desk.engine, desk.settings, Said(command_id, Applied("TA2"), "ann", "seen"))
    by_path, by_person = await desk.last(answered), await desk.last(command_id)
    assert by_path.keys() == by_person.keys()
    same = ("type", "command_type", "account_no", "attempts", "error", "refers_to", "issued_by")
    assert {name: by_path[name] for name in same} == {name: by_person[name] for name in same}
    assert by_path["result"].keys() == by_person["result"].keys()
    assert by_path["timing"].keys() == by_person["timing"].keys()
    timers = await desk.rows("SELECT kind, state FROM timers")
    assert timers == [{"kind": "expire", "state": "armed"}] * 2


@pytest.mark.parametrize("way", Way)
async def test_nothing_is_decided_here_where_a_call_is_in_doubt(desk: Desk, way: Way) -> None:
    command_id = await desk.parked("temp.adjust")
    done = await desk.cli("parked", way, str(command_id), *WHY)
    assert done.returncode == 5
    assert f"ledger-worker in-doubt resolve {command_id}" in done.stderr
    await desk.do("UPDATE parked SET in_doubt = false")
    await desk.do("DELETE FROM doubts")
    with pytest.raises(RefusedByGuardError, match="may have been applied"):
        await ask(desk, command_id, way)
    assert await desk.state(command_id) == "parked"
    assert await desk.rows("SELECT 1 FROM audit") == []


async def test_what_is_not_parked_any_more_is_refused_naming_who_decided(desk: Desk) -> None:
    command_id = await unsent(desk)
    await ask(desk, command_id, Way.DISCARD, "ben")
    with pytest.raises(RefusedByGuardError, match=r"it is rejected; ben decided discard at"):
        await ask(desk, command_id, Way.REDRIVE)
    refused = await desk.send("cash.adjust", payload={"amount": "1e3"})
    with pytest.raises(RefusedByGuardError, match="refused when it was read"):
        await ask(desk, refused, Way.REDRIVE)
    with pytest.raises(NothingMatchedError):
        await ask(desk, clock.new_id(), Way.DISCARD)


@pytest.mark.prints("parked redrive")
async def test_of_several_ids_what_can_be_decided_is_and_the_rest_is_told(desk: Desk) -> None:
    first, doubtful, second = await unsent(desk), await desk.parked("temp.adjust"), await unsent(desk)
    nobody = str(clock.new_id())
    done = await desk.cli("parked", "redrive", str(first), str(doubtful), nobody, str(second), str(first), *WHY)
    assert done.returncode == 4
    assert [one["command_id"] for one in json.loads(done.stdout)] == [str(first), str(second)]
    for expected in (f"in-doubt resolve {doubtful}", nobody, "2 of 4 were decided"):
        assert expected in done.stderr
    again = await desk.cli("parked", "discard", str(first), nobody, *WHY)
    assert (again.returncode, again.stdout) == (5, "")
    assert "ann decided redrive at" in again.stderr
    assert (await desk.cli("parked", "discard", nobody, *WHY)).returncode == 3


async def test_the_preview_says_who_has_gone_on_and_nothing_changes_without_a_yes(desk: Desk) -> None:
    command_id = await unsent(desk)
    await desk.send("cash.freeze")
    await desk.answer(DONE)
    done = await desk.cli("parked", "redrive", str(command_id), "--reason", "why")
    assert done.returncode == 5
    assert "1 later commands of its account have gone on before it" in done.stderr
    assert (await desk.cli("parked", "redrive", str(command_id), "--reason", " ", "--yes")).returncode == 5
    assert await desk.state(command_id) == "parked"


async def test_a_decision_is_evidence_and_audit_in_one(desk: Desk) -> None:
    command_id = await unsent(desk)
    await ask(desk, command_id, Way.REDRIVE)
    noted = await desk.one("SELECT kind, actor, reason, detail FROM evidence")
    assert (noted["kind"], noted["actor"], noted["reason"]) == ("person", "ann", "the key is renewed")
    assert (noted["detail"]["decision"], noted["detail"]["position"]) == ("redrive", 2)
    audit = await desk.one("SELECT action, subject, value FROM audit")
    assert (audit["action"], audit["subject"]) == ("parked.redrive", str(command_id))
    assert json.loads(bytes(audit["value"]))["before"]["reason"].startswith("the brokerage refuses the signature")


async def test_of_two_processes_at_once_one_decides_and_the_other_is_told_who(desk: Desk) -> None:
    parked, doubtful = await unsent(desk), await desk.parked("temp.adjust")

    async def typed_by(actor: str, *arguments: str) -> Typed:
        env = {**desk.env, "LEDGER_ACTOR": actor}
        done = await asyncio.to_thread(run_worker_cli, *arguments, *WHY, env=env)
        return Typed(done.returncode, done.stdout, done.stderr)

    contests = {
        parked: (("parked", "redrive", str(parked)), ("parked", "discard", str(parked))),
        doubtful: (
            ("in-doubt", "resolve", str(doubtful), "--applied", "TA1"),
            ("in-doubt", "resolve", str(doubtful), "--not-applied"),
        ),
    }
    for command_id, (one, other) in contests.items():
        first, second = await asyncio.gather(typed_by("ann", *one), typed_by("ben", *other))
        assert sorted((first.returncode, second.returncode)) == [0, 5], first.stderr + second.stderr
        winner, loser = ("ann", second) if first.returncode == 0 else ("ben", first)
        assert f"{winner} decided" in loser.stderr
        assert len(await desk.rows("SELECT 1 FROM audit WHERE subject = :id", id=str(command_id))) == 1
    await desk.gapless()


async def test_parked_commands_are_paged_and_filtered_by_age(desk: Desk) -> None:
    ids = [str(await unsent(desk)) for _ in range(3)]
    await desk.do("UPDATE parked SET parked_at = now() - interval '2 h' WHERE command_id = :id", id=ids[2])
    seen: list[str] = []
    after: tuple[str, ...] = ()
    while page := await desk.cli_json("parked", "list", "--limit", "2", *after):
        seen += [one["command_id"] for one in page]
        after = ("--after", seen[-1])
    assert seen == [ids[2], ids[0], ids[1]]
    old = await desk.cli_json("parked", "list", "--older-than", "1h")
    assert [(one["command_id"], one["age"], one["amount"]) for one in old] == [(ids[2], "2h 0m", "1000.00 USD")]
    await ask(desk, UUID(ids[1]), Way.DISCARD)
    gone = await desk.cli("parked", "list", "--after", ids[1])
    assert (gone.returncode, gone.stdout) == (3, "")
    assert (await desk.cli("parked", "list", "--older-than", "soon")).returncode == 2


async def test_a_doubt_s_row_says_how_much_why_and_what_comes_when(desk: Desk) -> None:
    parked = await desk.parked("temp.adjust")
    await desk.cli("in-doubt", "list")
    [told] = await desk.cli_json("in-doubt", "list", "--parked", "--operation", "temp.adjust")
    assert (told["command_id"], told["amount"]) == (str(parked), "1000.00 USD")
    assert told["no_evidence"].startswith("the operation takes no key and cannot be looked up; timeout")
    assert (told["next"], told["next_at"], told["parks_at"]) == ("nothing: a person decides", None, None)
    assert await desk.cli_json("in-doubt", "list", "--operation", "cash.adjust") == []
    assert (await desk.cli("in-doubt", "list", "--operation", "nonsense")).returncode == 2
    assert await desk.cli_json("in-doubt", "list", "--older-than", "1d") == []
    held = Desk(desk.engine, {**desk.env, "LEDGER_WHALE_KEY_LIFE_S": "600"})
    command_id = await held.send("cash.adjust")
    await held.answer(TIMEOUT)
    [told] = await held.cli_json("in-doubt", "list", "--account", held.account_no)
    assert (told["command_id"], told["next"]) == (str(command_id), "in doubt: sent again under the same key")
    assert told["since_at"] < told["next_at"] < told["parks_at"]
    assert [one["command_id"] for one in await held.cli_json("in-doubt", "list", "--after", str(parked))] == [
        str(command_id)
    ]

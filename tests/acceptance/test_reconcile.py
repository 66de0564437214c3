"""`reconcile` as an operator runs it: nothing to name where all agrees, and every kind of difference by its name."""

import asyncio
import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.operate.conftest import Typed, typed
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.upstream import Json, Upstream, temporary
from tests.support.worker import CHECKOUT, run_worker_cli
from worker.ledger.verdicts import Request
from worker.operate.quiet import client_of
from worker.settings import Settings
from worker.whale.wire import Answer

NOW = "2099-01-01T00:00:00Z"
"""The end of a range is never after now, so this says now."""
WHY = ("--sign-off", "--reason", "close of the day", "--yes")


@dataclass
class Ground:
    """A database and a brokerage in which real workers have done commands of all types."""

    env: dict[str, str]
    brokerage: SandboxClient
    account_no: str
    other_account_no: str  # has a call in doubt
    sent: dict[str, Json]

    def cli(self, *arguments: str) -> Typed:
        return asyncio.run(typed(self.env, "reconcile", *arguments))

    def compare(self, *arguments: str, code: int = 4) -> Json:
        """Compare one account up to now and return the certificate."""
        done = self.cli("--account", self.account_no, "--to", NOW, "--output", "json", *arguments)
        assert done.returncode == code, f"{done.returncode}: {done.stderr}\n{done.stdout}"
        found: Json = json.loads(done.stdout)
        return found

    def named(self, *arguments: str) -> dict[str, list[Json]]:
        """Compare and return the differences by kind."""
        made = self.compare(*arguments)
        kinds: dict[str, list[Json]] = {}
        for one in made["differences"]:
            kinds.setdefault(one["kind"], []).append(one)
        assert {kind: len(rows) for kind, rows in kinds.items()} == {k: n for k, n in made["kinds"].items() if n}
        return kinds

    def do(self, statement: str, *given: object) -> int:
        with psycopg.connect(self.env["LEDGER_DATABASE_URL"]) as connection:
            return connection.execute(statement, given).rowcount

    def number(self, name: str) -> str:
        """The brokerage's number of one of the commands."""
        with psycopg.connect(self.env["LEDGER_DATABASE_URL"]) as connection:
            statement = "SELECT number FROM numbers WHERE command_id = %s"
            [number] = connection.execute(statement, [self.sent[name]["command_id"]]).fetchone() or [None]
        assert isinstance(number, str)
        return number

    def by_hand(self, path: str, method: str = "POST", **fields: Any) -> Json:
        """Do something at the brokerage as another client would."""
        body = json.dumps({"account_no": self.account_no, **fields}).encode()

        async def call() -> Json:
            async with client_of(Settings.from_env(self.env, needs=("whale",))) as client:
                answer = await client.read(Request(method, path, "", body))
            assert isinstance(answer, Answer), answer
            assert answer.status == 200, answer.body
            read: Json = json.loads(answer.body)["data"]
            return read

        return asyncio.run(call())


def commands(account_no: str) -> dict[str, Json]:
    """Commands of all ten types, by a name for each; the account must have a position first."""
    one: dict[str, Json] = {
        "in": new_command("cash.adjust", account_no, {"amount": "250.50"}),
        "out": new_command("cash.adjust", account_no, {"amount": "20", "direction": "DEBIT", "risk_check": None}),
        "position": new_command("position.adjust", account_no),
        "freeze": new_command("cash.freeze", account_no, {"amount": "35"}),
        "kept": new_command("cash.freeze", account_no, {"amount": "12.00", "currency": "USD"}),
        "temporary": temporary(account_no),
        "order": new_command("order.place", account_no, {"remark": "mine"}),
        "order 2": new_command("order.place", account_no, {"quantity": "7"}),
        "refused": new_command("cash.adjust", account_no, {"amount": "0"}),
    }
    freeze, order = ({"command_id": one[name]["command_id"]} for name in ("freeze", "order"))
    return one | {
        "unfreeze": new_command("cash.unfreeze", account_no, {"freeze": freeze, "amount": "5"}),
        "debit": new_command("cash.debit_frozen", account_no, {"freeze": freeze}),
        "modify": new_command("order.modify", account_no, {"order": order, "remark": "smaller"}),
        "withdraw": new_command("order.withdraw", account_no, {"order": order}),
        "expire": new_command(
            "temp.expire", account_no, {"adjust": {"command_id": one["temporary"]["command_id"]}, "op_user": "admin"}
        ),
    }


@pytest.fixture
def ground(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    worker_env: dict[str, str],
) -> Ground:
    """A real worker's work on one account, answers lost on the way: all of it applied, once."""
    account_no, other = new_account(), new_account()
    brokerage.fault("drop_answer", operation="temp.adjust", account_no=other)
    for operation in ("cash.adjust", "order.place"):
        brokerage.fault("drop_answer", operation=operation, account_no=account_no)
    brokerage.fault("error_before", operation="cash.unfreeze", account_no=account_no)
    sent = commands(account_no) | {"doubtful": temporary(other), "after": new_command("order.place", other)}
    worker = start_worker(settings=QUICK)
    upstream.send(*sent.values())
    told = upstream.answered(*(one for name, one in sent.items() if name != "doubtful"))
    rejected = [one["command_id"] for one in told if one["type"] == "command.rejected"]
    assert rejected == [sent["refused"]["command_id"]]
    found = Ground(worker_env, brokerage, account_no, other, sent)
    wait_until(lambda: found.do("SELECT 1 FROM outbox") == 0, 20)
    assert worker.sigterm() == 0
    return found


def test_where_all_was_applied_once_whatever_was_lost_on_the_way_nothing_is_named(
    ground: Ground, tmp_path: Path
) -> None:
    file, page = tmp_path / "day.json", tmp_path / "day.txt"
    made = ground.compare("--certificate", str(file), "--page", str(page), *WHY, code=0)
    assert (made["agrees"], made["complete"], made["differences"]) == (True, True, [])
    totals = {(one["book"], one["unit"]): (one["ours"], one["theirs"], one["difference"]) for one in made["totals"]}
    assert totals["cash", "USD"] == ("230.50", "230.50", "0.00")
    assert totals["cash", "HKD"] == ("-30", "-30", "0"), "the debit took what the unfreeze had left"
    assert totals["freezes", "HKD"] == ("0", "0", "0")
    assert totals["freezes", "USD"] == ("12.00", "12.00", "0.00")
    assert totals["positions", "700.HK"] == ("2000", "2000", "0")
    assert totals["orders", "AAPL.US"] == ("207", "207", "0"), "the order that was changed counts as changed"
    assert totals["temporary", "USD"] == ("1000.00", None, None)
    assert made["counts"]["commands"] == 13, "a refusal by validation is none"
    assert json.loads(file.read_text()) == made
    assert made["sha256"] in page.read_text()
    assert "EVERYTHING AGREES" in page.read_text()
    assert "tester at" in page.read_text()
    assert len(page.read_text().splitlines()) <= 60

    _ranges_that_touch_count_everything_once(ground, made)
    content = {name: value for name, value in made.items() if name != "sha256"}
    written = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(written).hexdigest() == made["sha256"]
    assert ground.cli("verify", "--audit", str(file)).returncode == 0
    with psycopg.connect(ground.env["LEDGER_DATABASE_URL"]) as connection:
        [value] = connection.execute("SELECT value FROM audit").fetchone() or [b""]
    audited = json.loads(value)
    assert (audited["actor"], audited["reason"]) == ("tester", "close of the day")
    assert audited["after"]["sha256"] == made["sha256"]
    file.write_text(file.read_text().replace('"230.50"', '"230.51"', 1))
    changed = ground.cli("verify", str(file))
    assert (changed.returncode, changed.stdout) == (1, "")
    assert "was changed" in changed.stderr
    forged = {**content, "agrees": False}
    hashed = json.dumps(forged, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    file.write_text(json.dumps({**forged, "sha256": hashlib.sha256(hashed).hexdigest()}))
    assert ground.cli("verify", str(file)).returncode == 0
    assert "another hash" in ground.cli("verify", "--audit", str(file)).stderr
    _runbook_can_be_followed(ground, tmp_path)


def _ranges_that_touch_count_everything_once(ground: Ground, whole: Json) -> None:
    statement = """
        SELECT percentile_disc(%s) WITHIN GROUP (ORDER BY first_sent_at) FROM commands
        WHERE account_no = %s AND first_sent_at IS NOT NULL
    """
    for part_before in (0.3, 0.5, 0.7):
        with psycopg.connect(ground.env["LEDGER_DATABASE_URL"]) as connection:
            [middle] = connection.execute(statement, [part_before, ground.account_no]).fetchone() or [None]
        assert isinstance(middle, datetime)
        parts = [
            ground.compare("--to", middle.isoformat(), code=0),
            ground.compare("--from", middle.isoformat(), code=0),
        ]
        assert all(part["counts"]["matched"] for part in parts)
        for count in ("commands", "outcomes", "lines", "matched"):
            assert sum(part["counts"][count] for part in parts) == whole["counts"][count], (part_before, count)
        for row in whole["totals"]:
            same = [
                one
                for part in parts
                for one in part["totals"]
                if (one["book"], one["unit"]) == (row["book"], row["unit"])
            ]
            assert sum(Decimal(one["ours"]) for one in same) == Decimal(row["ours"]), (part_before, row)


def _runbook_can_be_followed(ground: Ground, folder: Path) -> None:
    """Every command of the page, over a range of this test's; with the doubt of the other account it names one difference."""
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()  # noqa: TID251
    places = {"2026-11-22T00:00:00Z": hour_ago, "2026-11-23T00:00:00Z": NOW}
    places |= {name: str(folder / name) for name in ("day.json", "day.txt")}
    lines = [
        line
        for line in (CHECKOUT / "docs/runbooks/reconcile.md").read_text().splitlines()
        if "   ledger-worker" in line
    ]
    assert len(lines) == 4
    for line in lines:
        _, command, *arguments = [places.get(word, word) for word in shlex.split(line)]
        signs = ["--yes"] if "--sign-off" in arguments else []
        if signs:
            assert ground.cli(*arguments).returncode == 5, "nobody can be asked here"
        done = ground.cli(*arguments, *signs)
        assert (command, done.returncode) == ("reconcile", 0 if arguments[0] == "verify" else 4), done.stderr
    assert "in doubt" in (folder / "day.txt").read_text()


@pytest.mark.prints("reconcile")
def test_every_kind_of_difference_is_named_and_nothing_is_matched_by_its_amount(ground: Ground) -> None:
    # what another client did
    foreign = ground.by_hand(
        "/v1/whaleapi/asset/adjust_cash", direction=1, currency="USD", amount="250.50", biz_code="X1", remark="by hand"
    )["serial_num"]
    freeze = ground.by_hand("/v1/whaleapi/asset/frozen_cash", currency="USD", frozen_amount="1.00", biz_code="X2")
    order = ground.by_hand(
        "/v1/whaleapi/trade/order",
        symbol="AAPL.US",
        side="Buy",
        order_type="LO",
        submitted_price="88.5",
        submitted_quantity="100",
        time_in_force="Day",
    )["order_id"]
    found = ground.named()
    assert found.keys() == {"theirs_without_ours"}, "what is alike in amount is not matched"
    theirs = {one["number"]: one for one in found["theirs_without_ours"]}
    assert theirs.keys() == {foreign, freeze["serial_num"], order}
    assert (theirs[foreign]["theirs"], theirs[foreign]["note"]) == ("250.50 USD", "by hand")
    assert theirs[foreign]["at"].startswith("20")
    made = ground.compare("--leave-out", "X1", "--leave-out", "X2")
    assert [one["number"] for one in made["differences"]] == [order]
    assert made["counts"]["left_out"] == 2
    cash = next(one for one in ground.compare()["totals"] if (one["book"], one["unit"]) == ("cash", "USD"))
    assert (cash["ours"], cash["theirs"], cash["difference"]) == ("230.50", "481.00", "-250.50")

    # what the brokerage's back office did
    ground.brokerage.revoke(ground.account_no, ground.number("out"))
    ground.brokerage.revoke(ground.account_no, ground.number("order"))
    ground.by_hand(
        "/v1/whaleapi/trade/order", method="PUT", order_id=ground.number("order 2"), quantity="9", price="88.5"
    )
    # what is wrong with us
    by_id = {name: one["command_id"] for name, one in ground.sent.items()}
    ground.do(
        "UPDATE commands SET payload = jsonb_set(payload, '{amount}', '\"250.00\"') WHERE command_id = %s", by_id["in"]
    )
    ground.do(
        "UPDATE commands SET payload = jsonb_set(payload, '{currency}', '\"EUR\"') WHERE command_id = %s", by_id["kept"]
    )
    ground.do(
        "DELETE FROM publications WHERE event_id IN (SELECT event_id FROM outcomes WHERE command_id = %s)",
        by_id["modify"],
    )
    was_last = ground.do(
        "SELECT 1 FROM outcomes o JOIN lanes l USING (account_no) WHERE o.command_id = %s AND o.account_seq = l.account_seq",
        by_id["debit"],
    )
    ground.do("DELETE FROM outcomes WHERE command_id = %s", by_id["debit"])
    ground.do("DELETE FROM commands WHERE command_id = %s", by_id["position"])
    ground.do("UPDATE commands SET state = 'rejected' WHERE command_id = %s", by_id["freeze"])
    ground.do("UPDATE lanes SET account_seq = account_seq + 2 WHERE account_no = %s", ground.account_no)
    found = ground.named()
    missing = {one["command_id"] for one in found["ours_without_theirs"]}
    assert missing == {by_id["out"], by_id["order"], by_id["modify"], by_id["withdraw"]}
    amounts = {(one["command_id"], one["ours"], one["theirs"]) for one in found["different_amount"]}
    assert amounts == {(by_id["in"], "250.00", "250.50"), (by_id["order 2"], "quantity 7", "quantity 9")}
    [terms] = found["different_terms"]
    assert (terms["command_id"], terms["ours"], terms["theirs"]) == (by_id["kept"], "EUR", "USD")
    assert [one["command_id"] for one in found["unpublished"]] == [by_id["modify"]]
    assert [one["command_id"] for one in found["outcome_missing"]] == [by_id["debit"]]
    assert {one["command_id"] for one in found["command_missing"]} == {by_id["position"]}
    assert [one["command_id"] for one in found["outcome_differs"]] == [by_id["freeze"]]
    # in the middle, and at the end; between topics any command may come last
    assert len(found["gap"]) == (1 if was_last else 2)

    _undecided_is_named(ground)


def _undecided_is_named(ground: Ground) -> None:
    """So are a doubt, what is not finished, and a verdict that was wrong."""
    ground.account_no, doubtful, after = ground.other_account_no, ground.sent["doubtful"], ground.sent["after"]
    found = ground.named()
    [doubt] = found["in_doubt"]
    assert (doubt["command_id"], doubt["ours"]) == (doubtful["command_id"], "CREDIT 1000.00 USD")
    ground.do("UPDATE commands SET state = 'queued', finished_at = NULL WHERE command_id = %s", after["command_id"])
    ground.do("DELETE FROM numbers")
    ground.do("UPDATE command_ids SET result = NULL")
    found = ground.named()
    assert [one["note"] for one in found["unfinished"]] == ["it is queued"]
    assert [one["note"] for one in found["outcome_differs"]] == ["told as command.succeeded, but it is queued"]
    assert "theirs_without_ours" not in found, "it carries the tag of a command that is not decided"
    ground.do("UPDATE commands SET state = 'rejected', finished_at = now() WHERE command_id = %s", after["command_id"])
    found = ground.named()
    [wrong] = found["rejected_but_there"]
    assert (wrong["command_id"], wrong["book"], wrong["theirs"]) == (after["command_id"], "orders", "100")
    ground.do("UPDATE commands SET state = 'succeeded' WHERE command_id = %s", after["command_id"])
    assert ground.named().keys() == {"in_doubt"}, "without its number an order is found by its tag"


def test_what_the_brokerage_does_not_show_makes_it_not_complete_and_nobody_signs_that(
    brokerage: SandboxClient, worker_env: Mapping[str, str], tmp_path: Path
) -> None:
    ground = Ground(dict(worker_env), brokerage, new_account(), "", {})
    empty = ground.cli("--account", ground.account_no)
    assert (empty.returncode, empty.stdout) == (3, "")
    assert ground.cli().returncode == 3, "a database without accounts"
    ground.by_hand("/v1/whaleapi/asset/adjust_cash", direction=1, currency="USD", amount="1", biz_code="X")
    brokerage.fault("malformed", operation="read", account_no=ground.account_no, times=3)
    made = ground.compare("--certificate", str(tmp_path / "c"))
    assert (made["complete"], made["agrees"]) == (False, False)
    assert [one["book"] for one in made["not_read"]] == ["cash"]
    assert ground.cli("--account", ground.account_no, "--sign-off", "--reason", "why").returncode == 5
    brokerage.fault("malformed", operation="read", account_no=ground.account_no, times=3)
    refused = ground.cli("--account", ground.account_no, "--to", NOW, *WHY)
    assert refused.returncode == 5, refused.stderr
    assert ground.do("SELECT 1 FROM audit") == 0
    nowhere = {**worker_env, "LEDGER_WHALE_BASE_URL": "http://127.0.0.1:1"}
    away = run_worker_cli("reconcile", "--account", ground.account_no, env=nowhere)
    assert (away.returncode, away.stdout, away.stderr.count("\n")) == (1, "", 1)
    assert "does not answer" in away.stderr
    brokerage.fault("unauthorized", operation="read", times=-1)
    turned_away = ground.cli("--account", ground.account_no)
    assert turned_away.returncode == 1
    assert "doctor" in turned_away.stderr
    for wrong in (("--from", "yesterday"), ("--reason", "why"), ("--sign-off",)):
        assert ground.cli(*wrong).returncode == 2

"""Who a refusal at the door concerns: everybody, or one command; a signed read tells."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker.ledger.backoff import NEW_SECOND_S
from worker.ledger.decide import SIGNATURE_ALONE
from worker.ledger.verdicts import NotSent, Pause, Request
from worker.observe.metrics import Metrics
from worker.pipeline import effect as stage
from worker.pipeline.effect import Effect
from worker.settings import Settings
from worker.whale.client import WhaleClient
from worker.whale.sign import Credentials
from worker.whale.wire import Answer

REPEATED = b'{"code": 403202, "message": "duplicate request", "data": {}}'
TAKEN = b'{"code": 0, "message": "success", "data": {"orders": []}}'
BAD_SIGNATURE = b'{"code": 403201, "message": "signature", "data": {}}'


class Reads:
    """A client that answers reads from a list and says how many were asked for."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies, self.count = list(bodies), 0
        self.credentials = Credentials("key", "secret", "token")

    async def read(self, _request: Request) -> Answer:
        """Answer with the next body."""
        self.count += 1
        body = self.bodies.pop(0)
        return Answer(200 if body == TAKEN else 403, body, {}, 0.0, 0.0)


@pytest.mark.parametrize(("second", "let_in"), [(TAKEN, True), (BAD_SIGNATURE, False)])
async def test_a_read_that_was_a_repeat_says_nothing_about_the_signature_and_is_made_again_in_a_new_second(
    monkeypatch: pytest.MonkeyPatch, second: bytes, let_in: bool
) -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(stage, "asyncio", SimpleNamespace(sleep=wait))
    reads = Reads(REPEATED, second)
    settings = Settings.from_env({}, needs=frozenset())
    effect = Effect(cast("WhaleClient", cast("Any", reads)), settings, Metrics())
    found = await effect.check_credentials("H1")
    assert (found is None) is let_in
    assert isinstance(found, NotSent | None)
    assert (reads.count, waits) == (2, [NEW_SECOND_S])


@pytest.mark.parametrize(("is_renewed", "rule"), [(False, SIGNATURE_ALONE), (True, "code_403201")])
async def test_a_signature_refused_alone_parks_its_command_unless_the_secrets_were_replaced_meanwhile(
    is_renewed: bool, rule: str
) -> None:
    reads = Reads(TAKEN)
    settings = Settings.from_env({}, needs=frozenset())
    effect = Effect(cast("WhaleClient", cast("Any", reads)), settings, Metrics())
    signed_with = Credentials("key", "secret", "token") if is_renewed else reads.credentials
    turn = cast("Any", SimpleNamespace(command=SimpleNamespace(account_no="H1")))
    refused = NotSent("code_403201", "signature", pause=Pause.SIGNATURE)
    found = await effect._about_all_or_one(turn, refused, signed_with)
    assert (found.rule, found.pause) == (rule, None)

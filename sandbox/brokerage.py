"""The brokerage without its door: books, faults, audit, and the one way in which a request reaches the books."""

import json
from dataclasses import dataclass

from sandbox import temporary
from sandbox.audit import Audit, Call, Effect, request_of
from sandbox.envelope import Code, Done, Json, RefusalError, plain
from sandbox.faults import Faults
from sandbox.ledger import Ledger
from sandbox.routes import SWEEP, Endpoint, routes
from sandbox.signature import Signed, Verifier

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer ready for the wire; `rate_limited` adds Retry-After."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    rate_limited: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that got past the gateway."""

    endpoint: Endpoint
    request: Json


def reply(status: int, body: Json) -> Reply:
    """Write an answer as JSON."""
    return Reply(status, _JSON.encode(body).encode())


class Brokerage:
    """One simulated brokerage. Nothing in it waits, so that each request is applied whole or not at all."""

    def __init__(self, ledger: Ledger, verifier: Verifier | None = None, *, wrap_risk_event: bool = False) -> None:
        self.ledger = ledger
        self.audit = Audit()
        self.faults = Faults()
        self.routes = routes(wrap_risk_event=wrap_risk_event)
        self.operations = frozenset(endpoint.operation for endpoint in self.routes.values())
        self._paths = frozenset(path for _, path in self.routes)
        self.verifier = verifier

    def admit(self, call: Call, signed: Signed) -> Accepted | Reply:
        """Do the gateway's part: note what the call is, check path, signature and form; a Reply turns it away."""
        endpoint = self.routes.get((call.method, call.path))
        if endpoint is None:
            if call.path in self._paths:
                return reply(405, plain(Code.WRONG_METHOD, f"{call.method} is not offered at {call.path}"))
            return reply(404, plain(Code.NOT_FOUND, f"no such path: {call.path}"))
        call.operation = endpoint.operation
        request = _read(call)
        if request is not None:
            self._note(call, request)
        try:
            if self.verifier is not None:
                self.verifier.check(signed)
        except RefusalError as refusal:
            return reply(refusal.status, plain(refusal.code, refusal.message))
        if request is None:
            return reply(400, plain(Code.BAD_PARAMETERS, "the body is not one JSON object"))
        return Accepted(endpoint, request)

    def act(self, call: Call, accepted: Accepted) -> Reply:
        """Apply a request to the books, or answer from the first time where its request_id was applied before."""
        endpoint, request = accepted.endpoint, accepted.request
        try:
            done = self._done(endpoint, request, call)
        except RefusalError as refusal:
            return reply(refusal.status, endpoint.refused(refusal))
        if done.changed:
            call.applied = True
            now = self.ledger.wall_s()
            self.audit.effects.append(Effect(endpoint.operation, call.account_no, done.number, now, call))
        return reply(200, endpoint.shape(done.body))

    def sweep(self) -> None:
        """End the temporary adjustments that are past their hour and the sweep delay."""
        for ended in self.ledger.sweep():
            request: Json = {"adjust_no": ended.adjust_no, "expire_time": ended.expire_time}
            now = self.ledger.wall_s()
            self.audit.effects.append(Effect(SWEEP, ended.account_no, ended.adjust_no, now, request=request))

    def _done(self, endpoint: Endpoint, request: Json, call: Call) -> Done:
        if not endpoint.keyed or call.request_id is None or call.account_no is None:
            return endpoint.act(self.ledger, request)
        answered = self.ledger.account(call.account_no).answered
        key = (endpoint.operation, call.request_id)
        before = answered.get(key)
        if before is not None:
            return Done(before.body, before.number)
        done = answered[key] = endpoint.act(self.ledger, request)
        return done

    def _note(self, call: Call, request: Json) -> None:
        leg = temporary.leg_of(request)
        adjustment = self.ledger.adjustments.get(str(request.get("adjust_no")))
        known = adjustment.account_no if adjustment else None
        call.account_no = _text(request.get("account_no")) or _text(leg.get("account_no")) or known
        call.request_id = _text(request.get("request_id"))
        call.remark = _text(request.get("remark")) or _text(leg.get("remark"))


def _read(call: Call) -> Json | None:
    try:
        return request_of(call.query, call.body)
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

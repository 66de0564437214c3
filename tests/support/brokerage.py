"""The sandbox's own endpoints: what it applied, what it was asked, what it shall do wrong."""

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

_TIMEOUT_S = 10


class SandboxClient:
    """Talks to `/_sandbox/…`; blocks, a connection per call."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = urlsplit(url).netloc

    def effects(self, **filters: str) -> list[dict[str, Any]]:
        """Effects in the sequence in which they were applied; filters: account_no, operation."""
        return self._listed("effects", filters)

    def calls(self, **filters: str) -> list[dict[str, Any]]:
        """Every call received, applied or not; filters: account_no, operation."""
        return self._listed("calls", filters)

    def seed(self, account_no: str, cash: Mapping[str, str], positions: Sequence[Mapping[str, str]] = ()) -> None:
        """Set what an account has."""
        self._ask("POST", "accounts", {"account_no": account_no, "cash": dict(cash), "positions": list(positions)})

    def fault(self, kind: str, *, times: int = 1, delay_s: float | None = None, **matching: object) -> None:
        """Arm a fault; `matching` narrows it by operation, account_no or remark, or says more (docs/sandbox.md); times -1 is for ever."""
        delay = {} if delay_s is None else {"delay_s": delay_s}
        self._ask("POST", "faults", {"kind": kind, "times": times, **delay, **matching})

    def clear_faults(self) -> None:
        self._ask("DELETE", "faults")

    def drive_order(self, order_id: str, status: str, executed_quantity: str | None = None) -> None:
        """Move an order to a status, as its market would."""
        self._ask("POST", "orders", {"order_id": order_id, "status": status, "executed_quantity": executed_quantity})

    def revoke(self, account_no: str, number: str) -> None:
        """Take back without a trace what has this number, as a back office can."""
        self._ask("POST", "revoke", {"account_no": account_no, "number": number})

    def replace_token(self, access_token: str, **key_and_secret: str) -> None:
        """Let another access token be the valid one, the one before has expired; another app_key and app_secret, too, if given."""
        self._ask("POST", "token", {"access_token": access_token, **key_and_secret})

    def _listed(self, what: str, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        return list(self._ask("GET", f"{what}?{urlencode(filters)}" if filters else what))

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_S)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, f"/_sandbox/{path}", payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status < 300, f"{method} /_sandbox/{path}: {answer.status} {text}"
        return json.loads(text) if text else None

"""What one exchange says about one attempt: the table of `docs/verdicts.md`, rule by rule; pure.

The HTTP status is looked at first where it alone decides, then the envelope's code, then what the operation's own entry
reads from `data`. What is not named here is in doubt.
"""

from typing import Final

from worker.ledger.verdicts import InDoubt, NotSent, Pause, Refused, Verdict
from worker.whale.entry import Operation
from worker.whale.wire import Answer, Envelope, Exchange, NoAnswer, clean, read_envelope

RETRY_AFTER_S_MAX: Final = 300.0

ADDRESS_CODES: Final = frozenset({"403203", "403205", "403305"})
SIGNATURE_CODE: Final = "403201"
REPEATED_CODE: Final = "403202"
REPEATED_RULE: Final = f"code_{REPEATED_CODE}"
# Documented elsewhere as the state of one user or account, so not a reason to stop everybody.
NOT_ABOUT_THE_TOKEN: Final = frozenset({"401011", "401033", "401040", "401045", "401047"})

HTTP_OK: Final = 200
HTTP_BAD_REQUEST: Final = 400
HTTP_UNAUTHORIZED: Final = 401
HTTP_TIMEOUT: Final = 408
HTTP_TOO_MANY: Final = 429
HTTP_REDIRECTS: Final = range(300, 400)
HTTP_SERVER_ERRORS: Final = range(500, 600)
HTTP_NOT_HERE: Final = frozenset({404, 405})


def judge(operation: Operation, exchange: Exchange, final_codes_extra: frozenset[str] = frozenset()) -> Verdict:
    """Return the verdict on one attempt; `rule` names the row that decided."""
    if isinstance(exchange, NoAnswer):
        return _without_answer(exchange)
    envelope = read_envelope(exchange.body)
    by_status = _by_status(exchange, envelope)
    if by_status is not None:
        return by_status
    if envelope is None:
        return InDoubt(f"http_{exchange.status}_unreadable", f"HTTP {exchange.status} with a body that cannot be read")
    final_codes = operation.final_codes | final_codes_extra
    by_code = _by_code(exchange, envelope, final_codes)
    if by_code is not None:
        return by_code
    return _by_data(operation, exchange, envelope, final_codes)


def _without_answer(exchange: NoAnswer) -> Verdict:
    if exchange.sent:
        return InDoubt(f"{exchange.kind}_after_send", exchange.message)
    rule = "send_before_passed" if exchange.kind == "late" else f"{exchange.kind}_before_send"
    return NotSent(rule, exchange.message)


def _by_status(answer: Answer, envelope: Envelope | None) -> Verdict | None:
    """Judge by the status alone: where it says that the brokerage never saw the call, or that it may have acted."""
    status, told = answer.status, _told(answer, envelope)
    if status in HTTP_REDIRECTS:
        return NotSent("http_3xx", f"{told}; the base URL is not the brokerage's", pause=Pause.ADDRESS)
    if status in HTTP_NOT_HERE:
        return NotSent(f"http_{status}", f"{told}; check the base URL and variants", pause=Pause.ADDRESS)
    if status == HTTP_TOO_MANY:
        return NotSent("http_429", told, retry_after_s=_retry_after_s(answer))
    if status == HTTP_TIMEOUT:
        return InDoubt("http_408", told)
    if status in HTTP_SERVER_ERRORS:
        return InDoubt("http_5xx", told)
    return None


def _by_code(answer: Answer, envelope: Envelope, final_codes: frozenset[str]) -> Verdict | None:
    """Judge by the outer code; None for success and for a bare body."""
    code, told = envelope.code, _told(answer, envelope)
    if code is None or code == "0":
        return None
    if code in ADDRESS_CODES:
        return NotSent(f"code_{code}", told, pause=Pause.ADDRESS)
    if code == SIGNATURE_CODE:
        return NotSent(f"code_{code}", told, pause=Pause.SIGNATURE)
    if code == REPEATED_CODE:
        return InDoubt(REPEATED_RULE, told)
    if _is_about_the_token(answer.status, code):
        return NotSent("token_refused", told, pause=Pause.CREDENTIALS)
    if _is_of_class(code, "429"):
        return NotSent("code_429", told, retry_after_s=_retry_after_s(answer))
    if code in final_codes:
        return Refused(code, envelope.message or told, "code_final")
    if _is_of_class(code, "408") or _is_server_error(code):
        return InDoubt("code_5xx", told)
    if answer.status == HTTP_BAD_REQUEST:
        return Refused(code, envelope.message or told, "http_400_envelope")
    return InDoubt("code_unknown", told)


def _by_data(operation: Operation, answer: Answer, envelope: Envelope, final_codes: frozenset[str]) -> Verdict:
    """Judge outer success, or a bare body, by the operation's own reading; only HTTP 200 can confirm."""
    if answer.status == HTTP_OK:
        return operation.read(envelope, final_codes)
    word = envelope.word("code")
    if envelope.code is None and answer.status == HTTP_BAD_REQUEST and word in final_codes:
        return Refused(word, envelope.message or word, "http_400_envelope")
    return InDoubt("status_contradicts", _told(answer, envelope))


def _is_about_the_token(status: int, code: str) -> bool:
    if code in NOT_ABOUT_THE_TOKEN:
        return False
    return status == HTTP_UNAUTHORIZED or _is_of_class(code, "401")


def _is_of_class(code: str, status: str) -> bool:
    """429 itself, and 429001: the gateway's finer codes are the status and three digits."""
    return code == status or (code.startswith(status) and len(code) == len(status) + 3)


def _is_server_error(code: str) -> bool:
    return code.startswith("5") and len(code) in {3, 6}


def _retry_after_s(answer: Answer) -> float | None:
    """Seconds to wait as told, bounded; None where it is absent or a date."""
    text = answer.headers.get("retry-after", "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:9]), RETRY_AFTER_S_MAX)


def _told(answer: Answer, envelope: Envelope | None) -> str:
    parts = [f"HTTP {answer.status}"]
    if envelope is not None:
        parts.append(f"code {envelope.code or envelope.word('code')}: {envelope.message}".rstrip(": "))
    if trace := answer.headers.get("x-trace-id"):
        parts.append(f"trace {trace}")
    return clean(", ".join(parts))

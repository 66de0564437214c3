"""A plain sentence for each rule that a verdict may name; a test keeps the table complete."""

import re
from collections.abc import Mapping
from typing import Final

RULES: Final[Mapping[str, str]] = {
    # no whole answer, and no byte left
    "send_before_passed": "the time to send had passed before the first byte; nothing left",
    "dns_before_send": "the brokerage's name was not found; nothing left",
    "refused_before_send": "the connection was refused; nothing left",
    "proxy_before_send": "the proxy did not make the connection; nothing left",
    "tls_before_send": "no trusted connection came about; nothing left",
    "timeout_before_send": "no connection came about by the deadline; nothing left",
    "reset_before_send": "the connection was gone before the request was written; nothing left",
    "cut_before_send": "the connection ended before the request was written; nothing left",
    "too_large_before_send": "an answer came before the request was written; nothing left",
    "dns_after_send": "the connection was lost after bytes may have left",
    "refused_after_send": "the connection was lost after bytes may have left",
    "proxy_after_send": "the connection was lost after bytes may have left",
    "late_after_send": "the time to send passed while bytes may have left",
    "tls_after_send": "the trusted connection broke after bytes may have left",
    "timeout_after_send": "the request left, and no whole answer came by the deadline",
    "reset_after_send": "the request left, and the connection was reset before the answer",
    "cut_after_send": "the request left, and only a part of the answer came",
    "too_large_after_send": "the request left, and the answer was too large to read",
    # the HTTP status alone
    "http_3xx": "the brokerage sends elsewhere: the base URL is not its own; the call was not taken",
    "http_404": "the brokerage does not know the path; the call was not taken",
    "http_405": "the brokerage does not take this method there; the call was not taken",
    "http_429": "the brokerage turned the call away for its rate; it goes out again later",
    "http_408": "the brokerage gave up waiting, which does not tell what it did",
    "http_5xx": "the brokerage failed, which does not tell what it did",
    # the envelope's code
    "code_403203": "the brokerage refuses the key; the call was not taken",
    "code_403205": "the brokerage refuses the key; the call was not taken",
    "code_403305": "the brokerage refuses this machine's address; the call was not taken",
    "code_403201": "the brokerage refuses every signature of ours now; the call was not taken",
    "code_403202": "the brokerage says that it has seen this very request, which does not tell what it did with it",
    "token_refused": "the brokerage refuses the access token; the call was not taken",
    "code_429": "the brokerage turned the call away for its rate; it goes out again later",
    "code_final": "the brokerage refused with a code that is final",
    "code_5xx": "the brokerage failed or gave up waiting, which does not tell what it did",
    "http_400_envelope": "the brokerage refused it, HTTP 400 with its own code",
    "code_unknown": "the brokerage answered with a code that nobody has told the meaning of",
    "status_contradicts": "the code says success and the HTTP status does not",
    # what the operation says in its data
    "inner_success": "the brokerage said success, inside too",
    "outer_success": "the brokerage said success; this operation says no more",
    "inner_code_final": "the brokerage refused inside a success, with a code that is final",
    "inner_code_unknown": "success outside, and inside a code that nobody has told the meaning of",
    "inner_code_missing": "success outside, and nothing inside that says so",
    "number_missing": "success without the number that it must give",
    "data_missing": "success without the data that it must give",
    # our own
    "signature_refused_alone": "the brokerage refuses the signature of this command alone; waiting will not mend that",
    "claim_unsure": "the database did not say whether the turn was taken; nothing left",
    "answer_refused": "the answer came and could not be stored",
    "owner_silent": "the worker that made the call fell silent before it told of an answer",
    "recovered": "the database has forgotten whether the call went out; it counts as doubtful",
    "person": "a person decided about it",
    "look": "the brokerage was looked at; nothing was changed",
}
UNREADABLE: Final = re.compile(r"http_([0-9]{3})_unreadable")

VERDICTS: Final[Mapping[str, str]] = {
    "open": "under way",
    "confirmed": "confirmed",
    "refused": "refused",
    "in_doubt": "in doubt",
    "not_sent": "not sent",
    "cleared": "not applied, as a person said",
    "redriven": "not sent, put behind by a redrive",
    "seen": "seen: it was applied",
    "absent": "not seen",
    "ended": "the order ended otherwise",
    "unreadable": "could not be read",
}


def sentence(rule: str) -> str:
    """Return what a rule says; one that is not known here is from another release."""
    if found := UNREADABLE.fullmatch(rule):
        return f"HTTP {found[1]} with a body that cannot be read, which does not tell what was done"
    return RULES.get(rule, "a rule of another release")

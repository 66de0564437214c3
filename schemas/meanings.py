"""What every field on the wire means, and an example of every document: put into the schemas when they are exported.

A field has one meaning wherever it occurs, so it is described once, by its name. What a test misses here, it names.
"""

from collections.abc import Mapping
from typing import Any

from schemas import examples
from schemas.commands import MODELS

Document = dict[str, Any]

_ENVELOPE = {
    "command_id": "Names what is wanted, once and for ever, across accounts and topics; the same id is never done twice.",
    "type": "What is asked for; decides the topic and the payload.",
    "account_no": "Whose account; also the record's key.",
    "issued_at": "When the sender decided it; not judged.",
    "issued_by": "Who sends it, as they say themselves; carried into outcomes and checked by nobody.",
    "not_after": "Past it, by the worker's database clock, no call is made any more: rejected, TOO_LATE.",
    "correlation_id": "The sender's own mark, carried into outcomes and their headers.",
    "payload": "What is asked for, in particular; its fields depend on the type.",
}
_PAYLOAD = {
    "direction": "CREDIT gives to the account, DEBIT takes from it.",
    "currency": "Currency of the amount or cost, as the brokerage names it, such as USD.",
    "amount": "How much cash; a plain decimal in a string.",
    "quantity": "How many shares; a plain decimal in a string. Of order.modify the new quantity, not the change.",
    "biz_code": "The brokerage's code for the reason of the booking.",
    "remark": "Free text that the brokerage keeps with it.",
    "risk_check": "Whether the brokerage looks first that the account can bear it.",
    "market": "The brokerage's name of the market, such as US or HK.",
    "symbol": "The security as CODE.REGION.",
    "counter_id": "The security as the brokerage's TYPE/MARKET/CODE; instead of symbol.",
    "security_type": "Which leg: CASH is buying power, STOCK a position.",
    "expires_at": "When the temporary adjustment ends: a whole second, ahead of the call by the worker's bounds.",
    "op_user": "The brokerage's name of the user on whose behalf it is done.",
    "cost_price": "The total cost of the position; may be zero.",
    "position_side": "LONG for shares held, SHORT for shares owed.",
    "adjust": "The temporary adjustment to end.",
    "freeze": "The freeze of cash that is meant.",
    "order": "The order that is meant.",
    "side": "Whether to buy or to sell.",
    "order_type": "The brokerage's order type; it decides which prices are needed.",
    "time_in_force": "Day for today, GTC until cancelled, GTD until expire_date.",
    "price": "The limit; needed with LO, ELO, ALO, ODD and LIT.",
    "expire_date": "The last day of the order, YYYY-MM-DD; needed with GTD.",
    "outside_rth": "Whether it may trade outside regular trading hours.",
    "trigger_price": "At which price it becomes live; needed with LIT and MIT.",
    "trailing_amount": "The distance that it trails by, as a price; needed with TSLPAMT and TSMAMT.",
    "trailing_percent": "The distance that it trails by, in per cent; needed with TSLPPCT and TSMPCT.",
    "limit_offset": "How far the limit lies from the trigger; may be zero.",
    "limit_depth_level": "Which level of the book gives the limit, -5 to 5.",
    "monitor_price": "The price from which trailing begins.",
    "trigger_count": "How often the trigger must be met, 0 to 3.",
}
_REFERENCE = {
    "command_id": "The earlier command of the same account that made it; instead of the brokerage's number.",
    "adjust_no": "The brokerage's number of the temporary adjustment; instead of command_id.",
    "serial_num": "The brokerage's number of the freeze; instead of command_id.",
    "order_id": "The brokerage's number of the order; instead of command_id.",
}
_OUTCOME = {
    "": {
        "event_id": "A UUIDv5 of the fact: published again it has the same id and bytes. Drop what you have seen.",
        "type": "What kind of fact.",
        "command_id": "The command; of an ended temporary adjustment, and of doubts of its expiry, the temp.adjust.",
        "command_type": "The command's type as given; null where it was no string.",
        "account_no": "The account, which is the record's key.",
        "account_seq": "Counts the account's outcomes 1, 2, 3, … without a gap, as the facts were recorded.",
        "occurred_at": "When it became so, UTC.",
        "recorded_at": "When it was written down, UTC.",
        "issued_by": "As in the command; null where it could not be read.",
        "correlation_id": "As in the command.",
        "attempts": "How many calls to the brokerage were made.",
        "result": "What is known to be so; null when rejected, and while nothing is known.",
        "error": "Why not, or why not yet; null when succeeded.",
        "payload": "That of the command as accepted; null where validation refused it.",
        "timing": "When what happened.",
        "decided_by": "The person who decided, if one did.",
        "refers_to": "The event_id of the outcome that this one repeats or corrects.",
        "source": "Where the command's record lies.",
    },
    "Result": {
        "adjust_no": "The brokerage's number of the temporary adjustment.",
        "serial_num": "The brokerage's number of the booking or freeze.",
        "order_id": "The brokerage's number of the order.",
        "expires_at": "When the temporary adjustment ends or was to end, UTC, a whole second.",
        "ended_by": "Who ended the temporary adjustment: our timer, a command, the brokerage itself, or not known.",
        "basis": "How it is known: answer (the brokerage said so), inferred (evidence), person.",
    },
    "Error": {
        "code": "A stable upper-case name, listed with what to do in docs/codes.md.",
        "message": "One sentence for a person; not for programs.",
        "origin": "Who refuses: validation, policy or the brokerage.",
        "field": "The field to blame as a dotted path from the root, such as payload.amount; or null.",
    },
    "Timing": {
        "accepted_at": "When the command was stored, UTC; null where validation refused it.",
        "first_sent_at": "When its first call to the brokerage began, UTC; null where none was made.",
        "answered_at": "When the last answer came, UTC; null where none did.",
    },
    "Source": {
        "topic": "The command topic.",
        "partition": "Its partition.",
        "offset": "Its offset there.",
    },
}
_HEADERS = {
    "content-type": "What the value is.",
    "ce_specversion": "The version of CloudEvents.",
    "ce_id": "The outcome's event_id.",
    "ce_source": "Who publishes.",
    "ce_type": "The outcome's type, between ledger. and .v1.",
    "ce_subject": "The outcome's account_no.",
    "ce_time": "The outcome's occurred_at.",
    "ce_causationid": "The outcome's command_id.",
    "ce_correlationid": "The outcome's correlation_id; absent when that is null.",
    "traceparent": "The W3C trace context of the command, when it carried a valid one.",
    "dlq_reason": "Why the record is a dead letter.",
    "dlq_error_message": "One sentence that says what is wrong; holds nothing of the record.",
    "dlq_error_fingerprint": "Sixteen hexadecimal digits that equal causes share.",
    "dlq_original_topic": "The topic on which the record was read.",
    "dlq_original_partition": "Its partition there.",
    "dlq_original_offset": "Its offset there.",
    "dlq_original_timestamp": "Its timestamp in Kafka, milliseconds since 1970.",
    "dlq_failed_at": "When it was judged, UTC.",
    "dlq_redrive_count": "How often an operator has put it back.",
}


def complete(documents: dict[str, Document]) -> dict[str, Document]:
    """Put descriptions and examples into the documents of commands, outcomes and headers; returns the same ones."""
    for name in MODELS:
        command = documents[f"{name}.json"]
        _describe(command, _ENVELOPE)
        for title, part in command.get("$defs", {}).items():
            _describe(part, _REFERENCE if title.endswith("Reference") else _PAYLOAD)
        _without_openapi(command)
        command["examples"] = examples.of_command(name)
    outcome = documents["outcome.json"]
    _describe(outcome, _OUTCOME[""])
    for title in _OUTCOME.keys() & outcome["$defs"].keys():
        _describe(outcome["$defs"][title], _OUTCOME[title])
    outcome["examples"] = examples.OUTCOMES
    for name, shown in (("outcome-headers", examples.OUTCOME_HEADERS), ("dead-letter-headers", examples.DEAD_LETTER)):
        _describe(documents[f"{name}.json"], _HEADERS)
        documents[f"{name}.json"]["examples"] = [shown]
    return documents


def _describe(schema: Document, meanings: Mapping[str, str]) -> None:
    """Say of each property what it means; what its type says of the form stays behind it."""
    properties = schema.get("properties", {})
    schema["properties"] = {name: _described(member, meanings.get(name)) for name, member in properties.items()}


def _described(member: Document, meaning: str | None) -> Document:
    form = member.get("description", "").removeprefix("must be ").removeprefix("must have the form ")
    told = " ".join(filter(None, (meaning, form and f"Form: {form}.")))
    return {**member, "description": told} if told else member


def _without_openapi(command: Document) -> None:
    """Drop `discriminator`, a word of OpenAPI: JSON Schema does not know it, and AsyncAPI wants another shape of it."""
    command["properties"]["payload"].pop("discriminator", None)

"""What a reconciliation leaves in writing: a certificate as JSON with a hash of its content, and the same on one page."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.times import written
from worker import clock
from worker.errors import LedgerWorkerError
from worker.ledger.strict_json import NotOneObjectError, read_object
from worker.store.audit import Action, note
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.reconciling import read_audit_value, read_now

Certificate = dict[str, Any]

FORMAT: Final = "ledger-worker/reconciliation/1"
DIFFERENCES_ON_PAGE: Final = 20
TOTALS_ON_PAGE: Final = 15
DEPTH_MAX: Final = 16


def canonical(certificate: Mapping[str, Any]) -> bytes:
    """Return what is hashed: all but `sha256`, members sorted, no blanks, UTF-8; `jq -cSj 'del(.sha256)'` gives the same."""
    content = {name: value for name, value in certificate.items() if name != "sha256"}
    # what is no text or short number was not written by us; it is hashed as something, so that the hash differs
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return text.encode("utf-8", "surrogatepass")


def seal(certificate: Certificate) -> Certificate:
    """Return the certificate with the hash of its content."""
    return {**certificate, "sha256": hashlib.sha256(canonical(certificate)).hexdigest()}


async def sign_off(engine: AsyncEngine, certificate: Certificate, actor: str, reason: str) -> Certificate:
    """Record in the audit that a person vouches for the certificate; returns it with who, when and why, sealed anew."""
    async with transaction(engine) as connection:
        now, audit_id = await read_now(connection), clock.new_id()
        signed = {"by": actor, "at": written(now), "reason": reason, "audit_id": str(audit_id)}
        sealed = seal({**certificate, "signed_off": signed})
        range_ = sealed["range"]
        subject = f"{sealed['account'] or 'all accounts'} {range_['from']} to {range_['to']}"
        facts = Facts()
        after = {"sha256": sealed["sha256"], "agrees": sealed["agrees"], "counts": sealed["counts"]}
        note(facts, audit_id, Action(actor, "reconcile.sign-off", reason, subject, {}, after), now)
        await facts.write(connection)
    return sealed


def read_certificate(data: bytes) -> Certificate:
    """Read a file as a certificate and compare its hash; LedgerWorkerError says what is wrong with it."""
    try:
        found = read_object(data, depth_max=DEPTH_MAX)
    except NotOneObjectError as error:
        raise LedgerWorkerError(f"the file is not a certificate: {error}") from error
    if found.get("format") != FORMAT or not isinstance(found.get("sha256"), str):
        raise LedgerWorkerError(f"the file is not a certificate: it has no format {FORMAT} or no sha256")
    hashed = hashlib.sha256(canonical(found)).hexdigest()
    if hashed != found["sha256"]:
        raise LedgerWorkerError(
            f"the certificate was changed: its content has the hash {hashed}, it says {found['sha256']}"
        )
    return found


async def check_audit(engine: AsyncEngine, certificate: Certificate) -> None:
    """Raise LedgerWorkerError where the audit does not have this certificate as signed off."""
    signed = certificate.get("signed_off")
    if not signed:
        raise LedgerWorkerError("the certificate is not signed off, so the audit has nothing of it")
    async with transaction(engine) as connection:
        value = await read_audit_value(connection, UUID(signed["audit_id"]))
    if value is None:
        raise LedgerWorkerError(f"the audit has no {signed['audit_id']}")
    kept = json.loads(value)
    if kept["after"].get("sha256") != certificate["sha256"]:
        raise LedgerWorkerError("the audit has another hash for it: the certificate was changed and hashed again")


def page_of(certificate: Certificate) -> str:
    """Return the certificate on one page of text; what does not fit is counted, and is in the certificate."""
    range_, signed = certificate["range"], certificate["signed_off"]
    counts, differences = certificate["counts"], certificate["differences"]
    verdict = "EVERYTHING AGREES" if certificate["agrees"] else f"{counts['differences']} DIFFERENCES"
    lines = [
        "RECONCILIATION",
        "",
        f"Account     {certificate['account'] or 'all that ever had a command'}",
        f"Range       {range_['from']} up to, not with, {range_['to']}",
        f"Brokerage   {certificate['brokerage']}",
        f"Made        {certificate['made_at']} by {certificate['made_by']}",
        f"Result      {verdict if certificate['complete'] else f'NOT COMPLETE, so far {verdict.lower()}'}",
        "",
        f"Compared    {counts['accounts']} accounts, {counts['commands']} commands, {counts['outcomes']} outcomes,",
        f"            {counts['lines']} lines of the brokerage's histories, {counts['matched']} of them ours",
        "",
        *_totals_on_page(certificate["totals"]),
    ]
    if differences:
        lines += ["Differences"]
        lines += [f"  {_difference_on_page(one)}" for one in differences[:DIFFERENCES_ON_PAGE]]
        if counts["differences"] > DIFFERENCES_ON_PAGE:
            lines.append(f"  and {counts['differences'] - DIFFERENCES_ON_PAGE} more, in the certificate")
        lines.append("")
    lines += [f"Not read    {one['account_no']} {one['book']}: {one['why']}" for one in certificate["not_read"][:3]]
    lines += [f"Not shown   {told}" for told in certificate["not_compared"]]
    by_whom = f"{signed['by']} at {signed['at']}: {signed['reason']}" if signed else "by nobody"
    lines += ["", f"Signed off  {by_whom}", f"SHA-256     {certificate['sha256']}"]
    return "\n".join(lines) + "\n"


def _totals_on_page(totals: list[Mapping[str, Any]]) -> list[str]:
    rows = [("Totals", "", "ours", "theirs", "difference")]
    rows += [
        (f"  {one['book']}", one["unit"], one["ours"], one["theirs"] or "not shown", one["difference"] or "-")
        for one in totals[:TOTALS_ON_PAGE]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{book:<{widths[0]}}  {unit:<{widths[1]}}  {ours:>{widths[2]}}  {theirs:>{widths[3]}}  {difference:>{widths[4]}}"
        for book, unit, ours, theirs, difference in rows
    ]
    more = len(totals) - TOTALS_ON_PAGE
    return [*lines, *([f"  and {more} more, in the certificate"] if more > 0 else []), ""]


def _difference_on_page(one: Mapping[str, Any]) -> str:
    named = " ".join(str(one[name]) for name in ("account_no", "book", "number", "command_id") if one[name])
    amounts = f": ours {one['ours'] or '-'}, theirs {one['theirs'] or '-'}" if one["ours"] or one["theirs"] else ""
    note_ = f" ({one['note']})" if one["note"] else ""
    return f"{one['kind'].replace('_', ' ')}: {named}{amounts}{note_}"

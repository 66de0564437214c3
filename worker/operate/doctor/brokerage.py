"""The brokerage: whether it takes our signature, and how far its clock is from ours."""

from email.utils import parsedate_to_datetime

from worker import clock
from worker.errors import LedgerWorkerError
from worker.ledger.addresses import read_proxy
from worker.ledger.verdicts import InDoubt, NotSent
from worker.operate.doctor.check import Check
from worker.settings import Settings
from worker.whale.client import WhaleClient
from worker.whale.operations import REGISTRY
from worker.whale.probes import credentials_check
from worker.whale.sign import Credentials
from worker.whale.verdict import HTTP_OK, NOT_ABOUT_THE_TOKEN, REPEATED_RULE, judge
from worker.whale.wire import Answer, Envelope, NoAnswer, read_envelope

ASKED_ACCOUNT = "DOCTOR"
AGAIN = "look again in a while; what stays is for the brokerage to mend"
ASK = "ask the brokerage what the code means; check the keys, the token and the allow-list"
BETWEEN = "see that LEDGER_WHALE_BASE_URL is the brokerage's API and nothing in between answers"
SICK = frozenset({"http_408", "http_429", "http_5xx", "code_429", "code_5xx", REPEATED_RULE})
"""Rules under which it answers, but not about the question: it is ill, overloaded, or has just seen the same one."""
SKEW_S_MAX = 5.0
"""A signature carries our time in whole seconds, and how far off it may be the brokerage does not say."""


async def examine_brokerage(settings: Settings) -> list[Check]:
    """Make one signed read; that the account is not known there does not matter."""
    credentials = Credentials(
        settings.whale_app_key,
        settings.whale_app_secret.get_secret_value(),
        settings.whale_access_token.get_secret_value(),
    )
    try:
        async with WhaleClient(
            url=settings.whale_base_url,
            credentials=credentials,
            timeout_s=settings.whale_timeout_s,
            pool_size=1,
            allow_http=settings.whale_allow_http,
            proxy=settings.whale_proxy,
        ) as client:
            asked_s = clock.wall_s()
            exchange = await client.read(credentials_check(ASKED_ACCOUNT))
            answered_s = clock.wall_s()
    except LedgerWorkerError as error:
        return [Check("brokerage", ok=False, says=str(error), do="correct LEDGER_WHALE_*")]
    proxy = None if settings.whale_proxy is None else read_proxy(settings.whale_proxy.get_secret_value())
    if isinstance(exchange, NoAnswer):
        set_ = "LEDGER_WHALE_BASE_URL" if proxy is None else "LEDGER_WHALE_BASE_URL, LEDGER_WHALE_PROXY"
        return [Check("brokerage", ok=False, says=exchange.message, do=f"check {set_} and the network")]
    way = "" if proxy is None else f", by way of the proxy {proxy.address}"
    return [
        weigh(f"{settings.whale_base_url}{way}", exchange),
        *compare_clocks(exchange.headers.get("date"), asked_s, answered_s),
    ]


def weigh(base_url: str, answer: Answer) -> Check:
    """Say whether an answer proves that the brokerage took our signature: only one about the question itself does."""
    verdict = judge(REGISTRY["order.withdraw"], answer, frozenset())
    envelope = read_envelope(answer.body)
    if isinstance(verdict, NotSent) and verdict.pause is not None:
        return Check("brokerage", ok=False, says=verdict.message, do="check the keys, the token and the allow-list")
    if isinstance(verdict, NotSent | InDoubt) and not _is_about_the_question(answer, envelope, verdict.rule):
        do = AGAIN if verdict.rule in SICK else ASK if envelope else BETWEEN
        return Check("brokerage", ok=False, says=f"{base_url} answered: {verdict.message}", do=do)
    return Check("brokerage", ok=True, says=f"{base_url} takes our signature (HTTP {answer.status})")


def _is_about_the_question(answer: Answer, envelope: Envelope | None, rule: str) -> bool:
    if envelope is None or rule in SICK:
        return False
    return answer.status == HTTP_OK or envelope.code in NOT_ABOUT_THE_TOKEN


def compare_clocks(date: str | None, asked_s: float, answered_s: float) -> list[Check]:
    """Compare the `Date` of an answer, in whole seconds, with our clock; nothing where there is none."""
    try:
        theirs_s = parsedate_to_datetime(date or "").timestamp() + 0.5
    except (ValueError, OverflowError):
        return []
    skew_s = theirs_s - (asked_s + answered_s) / 2
    return [
        Check(
            "whale-clock",
            abs(skew_s) <= SKEW_S_MAX + (answered_s - asked_s) / 2,
            f"the brokerage is {skew_s:+.1f} s from this machine, by its Date",
            "synchronise this machine's clock: it is signed, and a request from another time is refused",
        )
    ]

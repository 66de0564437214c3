"""Commands of the freezes topic: cash set aside, given back, or taken for good."""

from typing import Literal

from typing_extensions import override

from schemas.envelope import Envelope, Payload
from schemas.money import CashAmount
from schemas.references import FreezeReference, Referred
from schemas.text import Name, Text


class CashFreezePayload(Payload):
    """Account Cash Balance Freeze."""

    currency: Name
    amount: CashAmount
    biz_code: Name
    remark: Text | None = None
    risk_check: bool | None = None


class CashUnfreezePayload(Payload):
    """Account Cash Balance Unfreeze."""

    freeze: FreezeReference
    currency: Name
    amount: CashAmount
    biz_code: Name
    remark: Text | None = None

    @override
    def refers_to(self) -> Referred:
        return self.freeze.referred("freeze")


class CashDebitFrozenPayload(Payload):
    """Account Cash Balance Unfreeze Debit: takes the whole freeze for good."""

    freeze: FreezeReference
    biz_code: Name | None = None

    @override
    def refers_to(self) -> Referred:
        return self.freeze.referred("freeze")


class CashFreeze(Envelope):
    """`cash.freeze`."""

    type: Literal["cash.freeze"]
    payload: CashFreezePayload


class CashUnfreeze(Envelope):
    """`cash.unfreeze`."""

    type: Literal["cash.unfreeze"]
    payload: CashUnfreezePayload


class CashDebitFrozen(Envelope):
    """`cash.debit_frozen`."""

    type: Literal["cash.debit_frozen"]
    payload: CashDebitFrozenPayload

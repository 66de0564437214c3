"""Commands of the adjustments topic: cash and positions, for good or for a while."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from schemas.codes import Code
from schemas.envelope import Envelope, Payload
from schemas.money import CashAmount, PriceOrZero, Quantity
from schemas.references import AdjustReference, Referred, exactly_one
from schemas.text import CounterId, Name, Symbol, TaggedRemark, Text, refusal
from schemas.times import WholeSecond

Direction = Literal["CREDIT", "DEBIT"]


class CashAdjustPayload(Payload):
    """Account Cash Balance Adjustment."""

    direction: Direction
    currency: Name
    amount: CashAmount
    biz_code: Name
    remark: Text | None = None
    risk_check: bool | None = None


class PositionAdjustPayload(Payload):
    """Account Position Adjustment; stocks only."""

    direction: Direction
    market: Name
    symbol: Symbol
    quantity: Quantity
    biz_code: Name
    remark: Text | None = None


class TempAdjustPayload(Payload):
    """Temp Adjust, what both legs have."""

    expires_at: WholeSecond

    @override
    def lapses_at(self) -> datetime:
        return self.expires_at


class TempAdjustCash(TempAdjustPayload):
    """Temp Adjust, the cash leg: buying power until `expires_at`."""

    security_type: Literal["CASH"]
    direction: Direction
    currency: Name
    amount: CashAmount
    biz_code: Name
    remark: TaggedRemark
    op_user: Name


class TempAdjustStock(TempAdjustPayload):
    """Temp Adjust, the stock leg: a position until `expires_at`. `cost_price` is the total cost."""

    model_config = ConfigDict(json_schema_extra=exactly_one("counter_id", "symbol"))

    security_type: Literal["STOCK"]
    direction: Direction
    counter_id: CounterId | None = None
    symbol: Symbol | None = None
    quantity: Quantity
    currency: Name
    cost_price: PriceOrZero
    position_side: Literal["LONG", "SHORT"]
    biz_code: Name
    remark: TaggedRemark
    op_user: Name

    @model_validator(mode="after")
    def _one_name_of_the_stock(self) -> Self:
        if self.counter_id is None and self.symbol is None:
            raise refusal(Code.FIELD_MISSING, "needs counter_id or symbol", "counter_id")
        if self.counter_id is not None and self.symbol is not None:
            raise refusal(Code.FIELD_CONFLICT, "takes counter_id or symbol, not both", "symbol")
        return self


class TempExpirePayload(Payload):
    """Temp Adjust Expire: ends a temporary adjustment before its hour."""

    adjust: AdjustReference
    op_user: Name

    @override
    def refers_to(self) -> Referred:
        return self.adjust.referred("adjust")


class CashAdjust(Envelope):
    """`cash.adjust`."""

    type: Literal["cash.adjust"]
    payload: CashAdjustPayload


class PositionAdjust(Envelope):
    """`position.adjust`."""

    type: Literal["position.adjust"]
    payload: PositionAdjustPayload


class TempAdjust(Envelope):
    """`temp.adjust`."""

    type: Literal["temp.adjust"]
    payload: Annotated[TempAdjustCash | TempAdjustStock, Field(discriminator="security_type")]


class TempExpire(Envelope):
    """`temp.expire`."""

    type: Literal["temp.expire"]
    payload: TempExpirePayload

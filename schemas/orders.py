"""Commands of the orders topic. What depends on the security, such as a session for US hours, the brokerage judges."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from schemas.codes import Code
from schemas.envelope import Envelope, Payload
from schemas.money import Price, PriceOrZero, Quantity
from schemas.references import OrderReference, Referred
from schemas.text import Symbol, TaggedRemark, refusal
from schemas.times import Day

OrderType = Literal[
    "LO", "ELO", "MO", "AO", "ALO", "ODD", "LIT", "MIT", "TSLPAMT", "TSLPPCT", "TSMAMT", "TSMPCT", "SLO"
]
LimitDepthLevel = Annotated[int, Field(ge=-5, le=5)]
TriggerCount = Annotated[int, Field(ge=0, le=3)]

# what a value of one field makes necessary, as the brokerage documents it (Place Order, whale-api 3.1)
NEEDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("order_type", "price", ("LO", "ELO", "ALO", "ODD", "LIT")),
    ("time_in_force", "expire_date", ("GTD",)),
    ("order_type", "trigger_price", ("LIT", "MIT")),
    ("order_type", "trailing_amount", ("TSLPAMT", "TSMAMT")),
    ("order_type", "trailing_percent", ("TSLPPCT", "TSMPCT")),
)


def _needed_in_json_schema(schema: dict[str, Any]) -> None:
    schema["allOf"] = [
        {
            "if": {"properties": {given: {"enum": list(values)}}, "required": [given]},
            "then": {"properties": {needed: {"type": "string"}}, "required": [needed]},
        }
        for given, needed, values in NEEDED
    ]


class OrderPlacePayload(Payload):
    """Place Order."""

    model_config = ConfigDict(json_schema_extra=_needed_in_json_schema)

    symbol: Symbol
    side: Literal["Buy", "Sell"]
    order_type: OrderType
    quantity: Quantity
    time_in_force: Literal["Day", "GTC", "GTD"]
    price: Price | None = None
    expire_date: Day | None = None
    outside_rth: Literal["RTH_ONLY", "ANY_TIME", "OVERNIGHT"] | None = None
    trigger_price: Price | None = None
    trailing_amount: Price | None = None
    trailing_percent: Price | None = None
    limit_offset: PriceOrZero | None = None
    limit_depth_level: LimitDepthLevel | None = None
    monitor_price: Price | None = None
    trigger_count: TriggerCount | None = None
    remark: TaggedRemark | None = None

    @model_validator(mode="after")
    def _needed_are_given(self) -> Self:
        for given, needed, values in NEEDED:
            value = getattr(self, given)
            if value in values and getattr(self, needed) is None:
                raise refusal(Code.FIELD_MISSING, f"is needed with {given} {value}", needed)
        return self


class OrderModifyPayload(Payload):
    """Modify Order. The order's type is not known here, so what the type needs is left to the brokerage."""

    order: OrderReference
    quantity: Quantity
    price: Price | None = None
    trigger_price: Price | None = None
    trailing_amount: Price | None = None
    trailing_percent: Price | None = None
    limit_offset: PriceOrZero | None = None
    limit_depth_level: LimitDepthLevel | None = None
    monitor_price: Price | None = None
    trigger_count: TriggerCount | None = None
    remark: TaggedRemark | None = None

    @override
    def refers_to(self) -> Referred:
        return self.order.referred("order")


class OrderWithdrawPayload(Payload):
    """Withdraw Order."""

    order: OrderReference

    @override
    def refers_to(self) -> Referred:
        return self.order.referred("order")


class OrderPlace(Envelope):
    """`order.place`."""

    type: Literal["order.place"]
    payload: OrderPlacePayload


class OrderModify(Envelope):
    """`order.modify`."""

    type: Literal["order.modify"]
    payload: OrderModifyPayload


class OrderWithdraw(Envelope):
    """`order.withdraw`."""

    type: Literal["order.withdraw"]
    payload: OrderWithdrawPayload

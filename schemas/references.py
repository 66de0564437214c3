"""How a command names what an earlier one made: by that command's id, or by the brokerage's number for it."""

from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import ConfigDict, model_validator

from schemas.codes import Code
from schemas.text import BrokerageNumber, LowerUuid, Strict, refusal

Kind = Literal["adjust", "freeze", "order"]


class Referred(NamedTuple):
    """What is referred to: exactly one of the two is not None."""

    kind: Kind
    command_id: str | None
    number: str | None


def exactly_one(first: str, second: str) -> dict[str, Any]:
    """Say in JSON Schema that one of two members is given and the other absent or null."""

    def one(given: str, absent: str) -> dict[str, Any]:
        return {"required": [given], "properties": {given: {"type": "string"}, absent: {"type": "null"}}}

    return {"oneOf": [one(first, second), one(second, first)]}


class Reference(Strict):
    """Exactly one of a command's id and the brokerage's number."""

    number_field: ClassVar[str]

    command_id: LowerUuid | None = None

    @model_validator(mode="after")
    def _one_is_given(self) -> Self:
        number = getattr(self, self.number_field)
        if self.command_id is None and number is None:
            raise refusal(Code.FIELD_MISSING, f"needs command_id or {self.number_field}")
        if self.command_id is not None and number is not None:
            raise refusal(Code.FIELD_CONFLICT, f"takes command_id or {self.number_field}, not both", self.number_field)
        return self

    def referred(self, kind: Kind) -> Referred:
        """Return what this names, as something of that kind."""
        return Referred(kind, self.command_id, getattr(self, self.number_field))


class AdjustReference(Reference):
    """A temporary adjustment."""

    model_config = ConfigDict(json_schema_extra=exactly_one("command_id", "adjust_no"))
    number_field = "adjust_no"

    adjust_no: BrokerageNumber | None = None


class FreezeReference(Reference):
    """A freeze of cash."""

    model_config = ConfigDict(json_schema_extra=exactly_one("command_id", "serial_num"))
    number_field = "serial_num"

    serial_num: BrokerageNumber | None = None


class OrderReference(Reference):
    """An order."""

    model_config = ConfigDict(json_schema_extra=exactly_one("command_id", "order_id"))
    number_field = "order_id"

    order_id: BrokerageNumber | None = None

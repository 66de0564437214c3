"""The ten command types, and which of the three command topics each belongs on."""

from enum import StrEnum

from schemas.adjustments import CashAdjust, PositionAdjust, TempAdjust, TempExpire
from schemas.envelope import Envelope
from schemas.freezes import CashDebitFrozen, CashFreeze, CashUnfreeze
from schemas.orders import OrderModify, OrderPlace, OrderWithdraw

VALUE_BYTES_MAX = 65_536
DEPTH_MAX = 16


class CommandType(StrEnum):
    """What a command may ask for."""

    CASH_ADJUST = "cash.adjust"
    POSITION_ADJUST = "position.adjust"
    TEMP_ADJUST = "temp.adjust"
    TEMP_EXPIRE = "temp.expire"
    CASH_FREEZE = "cash.freeze"
    CASH_UNFREEZE = "cash.unfreeze"
    CASH_DEBIT_FROZEN = "cash.debit_frozen"
    ORDER_PLACE = "order.place"
    ORDER_MODIFY = "order.modify"
    ORDER_WITHDRAW = "order.withdraw"


MODELS: dict[str, type[Envelope]] = {
    CommandType.CASH_ADJUST: CashAdjust,
    CommandType.POSITION_ADJUST: PositionAdjust,
    CommandType.TEMP_ADJUST: TempAdjust,
    CommandType.TEMP_EXPIRE: TempExpire,
    CommandType.CASH_FREEZE: CashFreeze,
    CommandType.CASH_UNFREEZE: CashUnfreeze,
    CommandType.CASH_DEBIT_FROZEN: CashDebitFrozen,
    CommandType.ORDER_PLACE: OrderPlace,
    CommandType.ORDER_MODIFY: OrderModify,
    CommandType.ORDER_WITHDRAW: OrderWithdraw,
}

ADJUSTMENTS: frozenset[str] = frozenset(
    {CommandType.CASH_ADJUST, CommandType.POSITION_ADJUST, CommandType.TEMP_ADJUST, CommandType.TEMP_EXPIRE}
)
FREEZES: frozenset[str] = frozenset({CommandType.CASH_FREEZE, CommandType.CASH_UNFREEZE, CommandType.CASH_DEBIT_FROZEN})
ORDERS: frozenset[str] = frozenset({CommandType.ORDER_PLACE, CommandType.ORDER_MODIFY, CommandType.ORDER_WITHDRAW})

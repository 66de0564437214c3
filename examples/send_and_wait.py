"""Send one command and wait for its outcome: `python examples/send_and_wait.py H10240001 1000.00`.

Kafka is named by LEDGER_KAFKA_BOOTSTRAP_SERVERS and the other LEDGER_KAFKA_… and LEDGER_TOPIC_… variables.
"""

import asyncio
import sys

from ledger_client import Connection, LedgerClient, NotAnsweredError, Outcome, RefusedError, State, new_command
from schemas.adjustments import CashAdjustPayload

DEADLINE_S = 60


def say(outcome: Outcome) -> None:
    """Tell of each outcome on the way: in doubt, parked, and the last one."""
    sys.stdout.write(f"{outcome.account_no} #{outcome.account_seq} {outcome.type}\n")


async def main(account_no: str, amount: str) -> int:
    """Return 0 when the brokerage booked it, 1 when it did not, 2 when that is not known yet."""
    try:
        command = new_command(
            CashAdjustPayload(direction="CREDIT", currency="USD", amount=amount, biz_code="OPLCSTBD"),
            account_no=account_no,
            issued_by="example",
        )
    except ValueError as error:  # pydantic's, of the payload
        sys.stderr.write(f"not a payload: {error}\n")
        return 1
    # Keep command.command_id with your own record of the intent here: with it you may send again after a crash.
    async with LedgerClient(Connection.from_env()) as client:
        try:
            sent = await client.send(command)
            answer = await client.wait(sent.command_id, deadline_s=DEADLINE_S, told=say)
        except RefusedError as error:  # not sent
            sys.stderr.write(f"correct {error.field}: {error}\n")
            return 1
        except NotAnsweredError as error:  # says what is known; the same command under the same id may be sent again
            sys.stderr.write(f"{error}\n")
            return 2
    if answer.state is State.SUCCEEDED and answer.result is not None:
        sys.stdout.write(f"booked as {answer.result.serial_num}\n")
        return 0
    sys.stdout.write(f"{answer.state}: {answer.error.code if answer.error else ''}\n")
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))

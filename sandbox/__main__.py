"""The command line: `python -m sandbox serve`."""

import argparse
import sys

import uvloop

from sandbox.serve import Options, serve
from sandbox.signature import Credentials

_NUMBER_MAX = 1_000_000_000
_EXAMPLE = """example:
  python -m sandbox serve --port 8088 --app-key demo --app-secret demo-secret --access-token demo-token
  curl http://127.0.0.1:8088/_sandbox/effects

Without the three credentials no signature is checked. docs/sandbox.md lists every endpoint and fault.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 the address cannot be used, 2 usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    secrets = (given.app_key, given.app_secret, given.access_token)
    if any(secrets) and not all(secrets):
        parser.error("--app-key, --app-secret and --access-token go together")
    options = Options(
        host=given.host,
        port=given.port,
        credentials=Credentials(*secrets) if all(secrets) else None,
        sweep_delay_s=given.sweep_delay_s,
        latency_s=given.latency_ms / 1000,
        latency_jitter_s=given.latency_jitter_ms / 1000,
        wrap_risk_event=given.risk_event_answers == "wrapped",
    )
    try:
        uvloop.run(serve(options))
    except OSError as error:
        sys.stderr.write(f"cannot serve at {options.host}:{options.port}: {error.strerror or error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A simulated brokerage.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "serve",
        help="answer like the brokerage until SIGTERM",
        description='Answers like the brokerage until SIGTERM; prints {"url": ...} once it does.',
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1)")
    one.add_argument("--port", type=_port, default=0, help="port to listen at, 0 for a free one (default 0)")
    one.add_argument("--app-key", default="", help="the X-Api-Key that is known")
    one.add_argument("--app-secret", default="", help="the secret that signs")
    one.add_argument("--access-token", default="", help="the Authorization that is valid")
    one.add_argument(
        "--sweep-delay-s",
        type=_not_negative,
        default=5.0,
        help="seconds after its hour at which the brokerage itself ends a temporary adjustment (default 5)",
    )
    one.add_argument("--latency-ms", type=_not_negative, default=0.0, help="time per call, half before it is applied")
    one.add_argument("--latency-jitter-ms", type=_not_negative, default=0.0, help="at most so much more or less")
    one.add_argument(
        "--risk-event-answers",
        choices=("flat", "wrapped"),
        default="flat",
        help="whether the risk_event pages answer bare, as documented, or in an envelope (default flat)",
    )
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError("must be from 0 to 65535")
    return port


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number <= _NUMBER_MAX:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {_NUMBER_MAX}")
    return number


if __name__ == "__main__":
    sys.exit(main())

"""`python -m sandbox.parts serve`: a Kafka, a Postgres and a brokerage until SIGTERM, for work by hand.

Prints one JSON line, `{"kafka": "host:port", "database_url": "postgresql://…", "brokerage_url": "http://…"}`, once all answer;
progress goes to stderr. What follows `--` are options of `python -m sandbox serve`.
"""

import argparse
import json
import signal
import sys
import threading

from sandbox.parts.errors import PartsError
from sandbox.parts.together import running


def main() -> int:
    """Read the arguments, serve, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.parts", description=__doc__.partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    serve = actions.add_parser("serve", help="start all parts and print their addresses as one JSON line")
    serve.add_argument("--quiet", action="store_true", help="no progress on stderr")
    serve.add_argument("options", nargs="*", metavar="-- OPTION", help="what `python -m sandbox serve` shall be given")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a start under way is interrupted as by Ctrl-C
    try:
        with running(_silent if arguments.quiet else _say, brokerage_options=arguments.options) as parts:
            told = {
                "kafka": parts.kafka.bootstrap,
                "database_url": parts.postgres.url,
                "brokerage_url": parts.brokerage.url,
            }
            ended = threading.Event()
            for sign in (signal.SIGTERM, signal.SIGINT):  # before anybody who reads the line can end us
                signal.signal(sign, lambda *_: ended.set())
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            ended.wait()
    except PartsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _say(part: str, text: str) -> None:
    sys.stderr.write(f"{part}: {text}\n")


def _silent(_part: str, _text: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())

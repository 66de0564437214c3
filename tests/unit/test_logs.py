import io
import json
import logging

import pytest

from worker.observe.logs import configure

SECRETS = {"top-secret", "top-secret-and-longer"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_json_where_nobody_watches() -> None:
    stream = io.StringIO()
    configure(None, SECRETS, stream).info("claim.taken", account_no="H1", fence=3)
    line = json.loads(stream.getvalue())
    assert {"event": "claim.taken", "level": "info", "account_no": "H1", "fence": 3}.items() <= line.items()
    assert line["timestamp"].endswith("Z")


def test_a_line_is_for_eyes_on_a_terminal() -> None:
    stream = Terminal()
    configure(None, SECRETS, stream).info("claim.taken", account_no="H1")
    assert "claim.taken" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_is_masked_wherever_it_stands(form: str) -> None:
    stream = io.StringIO()
    log = configure(form, SECRETS, stream)
    log.info(
        "client.paused",
        text="a top-secret-and-longer b",
        nested={"top-secret": ["top-secret", ("x", {"top-secret"})]},
        raw=b"\xfftop-secret",
        error=ValueError("top-secret"),
    )
    try:
        int("top-secret")
    except ValueError:
        log.exception("client.stopped")
        logging.getLogger("library").exception("with %s", "top-secret")
    assert "top-secret" not in stream.getvalue()
    assert "-and-longer" not in stream.getvalue()
    assert "client.stopped" in stream.getvalue()
    assert stream.getvalue().count("Traceback") == 2


def test_libraries_speak_in_the_same_form_and_not_too_much() -> None:
    stream = io.StringIO()
    configure("json", (), stream)
    logging.getLogger("somebody").warning("a %s", "b")
    logging.getLogger("aiokafka.consumer").info("chatter")
    line = json.loads(stream.getvalue())
    assert {"event": "a b", "level": "warning", "logger": "somebody"}.items() <= line.items()


def test_configuring_again_writes_each_line_once() -> None:
    stream = io.StringIO()
    configure("json", (), stream)
    configure("json", (), stream).info("relay.started")
    logging.getLogger("x").warning("y")
    assert len(stream.getvalue().splitlines()) == 2


def test_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", (), io.StringIO()).error("intake.stopped")
    logging.getLogger("x").error("y")
    assert capsys.readouterr().out == ""

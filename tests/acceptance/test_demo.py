"""`ledger-worker demo` as its users meet it: what it shows, its exit status, and that nothing outlives it."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import new_command_id, produce, wait_until
from tests.support.curl import put_curl
from tests.support.pages import fences
from tests.support.worker import CHECKOUT, clean_env, run_worker_cli

pytestmark = pytest.mark.timeout(300)
_DEADLINE_S = 240
_SENT = "calls will go wrong at the brokerage"
_TYPES = {
    *("cash.adjust", "position.adjust", "temp.adjust", "temp.expire", "cash.freeze"),
    *("cash.unfreeze", "cash.debit_frozen", "order.place", "order.modify", "order.withdraw"),
}


class Demo:
    """A running demo whose stdout and stderr go to files, as where there is no terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        parts = {name: value for name, value in os.environ.items() if name.startswith("LEDGER_PARTS_")}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "worker", "demo", *arguments],
                env=clean_env(parts),
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_said(self, text: str) -> None:
        """Wait until it has said this on stderr."""
        wait_until(lambda: text in self.err or self.popen.poll() is not None, _DEADLINE_S, lambda: self.err + self.out)
        assert text in self.err, self.err + self.out

    def wait_end(self) -> int:
        wait_until(lambda: self.popen.poll() is not None, _DEADLINE_S, lambda: self.err + self.out)
        return int(self.popen.returncode)

    def family(self) -> set[int]:
        """Return the processes that it has started, and those that these have started."""
        parents = dict(_parents())
        found = {self.popen.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.popen.pid}


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(*arguments: str) -> Demo:
        started.append(Demo(tmp_path, *arguments))
        return started[-1]

    yield start
    for demo in started:
        demo.popen.kill()
        demo.popen.wait()


def test_it_shows_every_outcome_and_the_brokerage_agrees(start_demo: Callable[..., Demo]) -> None:
    demo = start_demo()
    assert demo.wait_end() == 0, demo.err + demo.out
    *shown, _, records, closing = demo.out.splitlines()
    assert closing == (
        "60 commands in, 60 answered: 48 succeeded, 8 rejected, 4 in doubt and resolved; "
        "brokerage's own ledger agrees: 0 lost, 0 doubled"
    )
    assert records == (
        "64 records in: 7 dead letters, 1 duplicate, 1 conflict; 2 temporary adjustments ended, by command and timer"
    )
    succeeded = [line.split()[3] for line in shown if re.search(r"#\d+ +\S+ +succeeded", line)]
    assert set(succeeded) == _TYPES
    letters = [re.split(r" {2,}", line)[2] for line in shown if "dead letter" in line]
    assert sorted(letters) == ["ID_CONFLICT", "MALFORMED", "MALFORMED", *["REFUSED"] * 4]
    codes = {found[1] for line in shown if (found := re.search(r" rejected +([A-Z0-9_]+): ", line))}
    assert codes >= {"TOO_LATE", "REFERENCE_INVALID", "NOT_APPLIED", "KEY_MISSING", "WRONG_TOPIC", "BROKERAGE_602001"}
    assert any(re.search(r" expired +TA\S+ ended by timer, its hour was ", line) for line in shown)
    assert "\x1b" not in demo.out + demo.err


def test_it_exits_1_when_an_outcome_was_published_that_the_brokerage_knows_nothing_of(
    start_demo: Callable[..., Demo],
) -> None:
    demo = start_demo()
    demo.wait_said(_SENT)
    kafka = re.search(r"kafka: ready on (\S+)", demo.err)
    assert kafka, demo.err
    claimed = {
        "event_id": new_command_id(),
        "type": "command.succeeded",
        "command_id": new_command_id(),
        "command_type": "cash.adjust",
        "account_no": "H999",
        "account_seq": 1,
        "recorded_at": "2026-11-22T08:30:00.130001Z",
        "attempts": 1,
        "result": {"serial_num": "1", "adjust_no": None, "order_id": None, "basis": "answer"},
        "error": None,
    }
    asyncio.run(produce(kafka[1], [("ledger.outcomes.v1", b"H999", json.dumps(claimed).encode(), ())]))
    assert demo.wait_end() == 1, demo.err + demo.out
    assert "brokerage's own ledger DISAGREES: 1 lost, 0 doubled" in demo.out


class Terminal:
    """A second terminal in a folder of its own: what is exported stays exported."""

    def __init__(self, folder: Path, exports: dict[str, str]) -> None:
        (folder / ".venv").mkdir()
        (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
        programs = folder / "programs"
        programs.mkdir()
        put_curl(programs)
        self._folder, self._exported = folder, ""
        self._env = clean_env(exports | {"PATH": f"{programs}:{os.environ['PATH']}"})

    def type(self, text: str, *, again: bool = False) -> str:
        """Type these lines; returns what they print on stdout. `again`: until no guard refuses it."""
        if all(line.startswith("export ") for line in text.splitlines()):
            self._exported += text

        def typed() -> "subprocess.CompletedProcess[str] | None":
            script = ["sh", "-e", "-c", self._exported + text]
            done = subprocess.run(
                script, env=self._env, cwd=self._folder, capture_output=True, text=True, timeout=90, check=False
            )
            return None if again and done.returncode == 5 else done

        done = wait_until(typed, 90, text)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout


def walk(page: str, demo: Demo, terminal: Terminal) -> None:
    """Type every command of the tutorial, in its sequence; where it says what is shown, that is shown."""
    shown, numbers, typed = "", [""], 0
    port = re.search(r"curl http://127\.0\.0\.1:(\d+)/readyz", demo.err)
    assert port, demo.err
    for fence in fences(page):
        if fence.language == "text":
            assert_shown(fence.text, shown)
        elif fence.text.startswith("make demo"):
            assert shutil.which("make"), "a checkout is used with make"
            plan = ["make", "--no-print-directory", "--dry-run", *fence.text.split()[1:]]
            told = subprocess.run(plan, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
            assert told.rstrip().endswith(fence.text.strip().replace("make demo", "demo").replace("ARGS=", "")), told
            shown = demo.out
        else:
            text = fence.text.replace("PORT", port[1]).replace("NUMBER", numbers[-1])
            shown = terminal.type(text, again="--yes" in text)
            numbers += re.findall(r'"number": "(\d+)"', shown)
            typed += 1
    assert typed >= 12


def assert_shown(expected: str, shown: str) -> None:
    """See that these lines are shown in this sequence, others between them; … stands for anything."""
    lines = iter(shown.splitlines())
    for wanted in expected.splitlines():
        pattern = re.compile(re.escape(wanted).replace("…", ".*"))
        assert any(pattern.fullmatch(line) for line in lines), f"{wanted}\nis not in\n{shown}"


def test_what_keep_leaves_running_is_used_as_the_tutorial_says_and_ends_with_ctrl_c(
    start_demo: Callable[..., Demo], tmp_path_factory: pytest.TempPathFactory
) -> None:
    demo = start_demo("--keep")
    demo.wait_said("Ctrl-C here stops everything")
    exports = dict(re.findall(r"(?m)^export (LEDGER_\w+)=(\S+)$", demo.err))
    env = clean_env(exports)
    file = re.search(r"send (\S+)", demo.err)
    assert file, demo.err
    sent = run_worker_cli("send", file[1], env=env)
    assert sent.returncode == 0, sent.stderr
    told = run_worker_cli("tail", "--from-beginning", "--account", "H10240041", "--count", "6", env=env)
    assert [json.loads(line)["type"] for line in told.stdout.splitlines()] == ["command.succeeded"] * 6
    folder = tmp_path_factory.mktemp("tutorial")
    walk((CHECKOUT / "docs/tutorial.md").read_text(), demo, Terminal(folder, exports))
    assert {path.name for path in folder.iterdir()} == {".venv", "programs"}, "it leaves something behind"
    family = demo.family()
    assert len(family) >= 6, "reaper, parts and their reaper, Kafka, Postgres, brokerage, worker"
    demo.popen.send_signal(signal.SIGINT)
    assert demo.wait_end() == 130, demo.err
    assert demo.err.endswith("stopped; nothing of it is left running\n")
    assert family & _running() == set()


@pytest.mark.parametrize("said", ["kafka: formatting", _SENT])
def test_nothing_outlives_it_when_it_is_killed(start_demo: Callable[..., Demo], said: str) -> None:
    demo = start_demo()
    demo.wait_said(said)
    family = demo.family()
    assert family
    demo.popen.kill()
    demo.popen.wait()
    wait_until(lambda: not family & _running(), 30, lambda: f"still running: {family & _running()}")


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":  # in a container nobody may collect what has ended
                yield int(folder.name), int(parent)


def _running() -> set[int]:
    return {pid for pid, _ in _parents()}

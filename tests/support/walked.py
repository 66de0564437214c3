"""Who types what the pages of the documentation say; tests/tidy/test_typed_commands.py holds it to the pages and to the tests."""

from collections.abc import Iterator

from tests.support.pages import commands_in_prose, typed_lines
from tests.support.worker import CHECKOUT

PAGES = {
    path.relative_to(CHECKOUT).as_posix(): path.read_text()
    for path in [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
}
_RUNBOOKS, _OPERATE = "docs/runbooks", "tests/integration/operate"
_KEPT = "tests/acceptance/test_demo.py::test_what_keep_leaves_running_is_used_as_the_tutorial_says_and_ends_with_ctrl_c"
_POSTGRES = "tests/chaos/test_forgetting.py::test_nothing_is_doubled_or_lost_when_postgres_was"
_TRUNCATED = "test_records_that_nobody_read_are_refused_until_adopted_when_it_was_truncated"
_COMPARED = "test_where_all_was_applied_once_whatever_was_lost_on_the_way_nothing_is_named"
_RESTORED = "test_what_was_committed_after_the_backup_is_there_when_it_is_restored_and_recover_finds_nothing_forgotten"

WALKED = {
    "docs/tutorial.md": _KEPT,
    "docs/operations.md": f"{_OPERATE}/test_operations.py::{_RESTORED}",
    f"{_RUNBOOKS}/dead-letters.md": f"{_OPERATE}/test_edits.py::test_the_runbooks_commands_do_what_it_says",
    f"{_RUNBOOKS}/in-doubt.md": f"{_OPERATE}/test_runbooks.py::"
    "test_the_runbook_of_doubts_shows_what_is_to_be_decided_and_its_forms_decide_it",
    f"{_RUNBOOKS}/leaked-key.md": "tests/acceptance/test_leaked_key.py::"
    "test_the_thief_is_shut_out_and_shown_and_each_command_is_done_once",
    f"{_RUNBOOKS}/parked.md": f"{_OPERATE}/test_runbooks.py::test_the_runbook_of_parked_commands_ends_with_nothing_parked",
    f"{_RUNBOOKS}/promoted-replica.md": _POSTGRES,
    f"{_RUNBOOKS}/prune.md": f"{_OPERATE}/test_prune.py::test_the_runbook_is_walked_to_its_end",
    f"{_RUNBOOKS}/reconcile.md": f"tests/acceptance/test_reconcile.py::{_COMPARED}",
    f"{_RUNBOOKS}/replay.md": f"{_OPERATE}/test_replay.py::test_the_runbook_can_be_walked_to_its_end",
    f"{_RUNBOOKS}/restored-database.md": _POSTGRES,
    f"{_RUNBOOKS}/topics-refused.md": f"tests/chaos/test_forgetting.py::{_TRUNCATED}",
    "docs/sandbox.md": "tests/contract/sandbox/test_page.py::test_what_the_page_says_to_try_does_what_it_shows",
    "docs/security-kafka.md": "tests/tidy/test_typed_commands.py::"
    "test_the_page_grants_what_the_worker_of_the_guarded_tests_is_granted",
}
"""Pages whose fences are typed by a test that reads the page."""

_EXAMPLES = "tests/acceptance/test_clients.py::test_the_examples_do_what_they_say"
_RECONCILE = WALKED[f"{_RUNBOOKS}/reconcile.md"]
_CONSUME = "tests/integration/client/test_consume"
RUN_BY = {
    "make demo": _KEPT,
    "ledger-worker demo": "tests/acceptance/test_demo.py::test_it_shows_every_outcome_and_the_brokerage_agrees",
    "ledger-worker demo --keep": _KEPT,
    "ledger-worker run": "tests/acceptance/test_run.py::"
    "test_sigterm_lets_calls_end_and_records_them_and_waits_for_no_call_that_hangs",
    "ledger-worker run --role intake,relay": "tests/chaos/test_zombies.py::"
    "test_frozen_in_the_relay_and_in_intake_with_a_rebalance",
    "ledger-worker reconcile verify day.json": _RECONCILE,
    "ledger-worker reconcile verify --audit day.json": _RECONCILE,
    "python examples/send_and_wait.py": _EXAMPLES,
    "COMMAND_ID=$(uuidgen | tr A-Z a-z) ACCOUNT_NO=H10240001 sh examples/console.sh": _EXAMPLES,
    "python -m ledger_client.consume --to postgres": f"{_CONSUME}_postgres.py::test_each_outcome_is_kept_once_with_all_it_says_and_a_second_run_goes_on",
    "python -m ledger_client.consume --to parquet": f"{_CONSUME}_parquet.py::test_each_outcome_is_kept_once_however_often_it_is_killed",
}
"""Lines, or what they begin with, that a test runs with other values."""

_ENGINE = "needs a container engine or a cluster; make checks runs what the image, the composition and the chart run"
_NETWORK = "needs a package registry, and changes what is installed"
_LONG = "minutes and more; make test has a part of each, and their words are read by make or looked up"
NOT_RUN = {
    "docker compose": _ENGINE,
    "kubectl create secret": _ENGINE,
    "helm install": _ENGINE,
    "pip install": _NETWORK,
    "python -m venv .venv": _NETWORK,
    "cp .env.example .env": "writes the settings of this checkout; tests/tidy/test_containers.py reads the example",
    "export LEDGER_": "sets what each test gives to its worker, with values of the reader's own",
    "jq -n --rawfile schema": "needs a schema registry",
    "make test": "runs all tests, this one too",
    "make chaos": _LONG,
    "make soak": _LONG,
    "make mutants": _LONG,
    "make simulate": _LONG,
    "make explore": _LONG,
    "make fuzz": _LONG,
    "make upgrade": _LONG,
    "python -m tests.chaos.": _LONG,
    "ledger-worker resume --operation TYPE": "names a form, the reason is left out",
}
"""Lines, or what they begin with, that no test runs, and why."""


def begins(line: str, known: dict[str, str]) -> str | None:
    """Return what the table says of a line: of our command line the whole line counts, else what it begins with."""
    if line.startswith("ledger-worker "):
        return known.get(line)
    return next((said for start, said in known.items() if line.startswith(start)), None)


def typed_here() -> Iterator[tuple[str, list[str]]]:
    """Give each page with the lines of `ledger-worker` that tests/acceptance/test_pages.py types."""
    for name, page in PAGES.items():
        fenced = [] if name in WALKED else [line for line in typed_lines(page) if line.startswith("ledger-worker ")]
        lines = [*fenced, *(line for line in commands_in_prose(page) if " --" in line)]
        if left := [line for line in lines if line not in RUN_BY | NOT_RUN]:
            yield name, left

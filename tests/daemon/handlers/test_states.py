"""Each acting verb in each state: the exit code is 0 only if what was asked is or will be done."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from rig import wait_for

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.background import Background
from rekindle.daemon.checks.checks import Checks
from rekindle.daemon.config import Retention, SourceLimits
from rekindle.daemon.gpus.monitor import Monitor
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.handlers.dispatcher import Dispatcher
from rekindle.daemon.handlers.tools import Tools
from rekindle.daemon.intake import submit
from rekindle.daemon.intake.inbox import Inbox
from rekindle.daemon.intake.requests import Request
from rekindle.daemon.queue_file import QueueFile
from rekindle.daemon.queueing.queue import Queue
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.source.present_code import PresentCode
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home
from rekindle.state.run import journal

CONTINUES: Final = {JobState.QUEUED, JobState.WAITING, JobState.STARTING, JobState.RUNNING}
WANTED: Final = {
    "stop": {JobState.HELD},
    "cancel": {JobState.CANCELLED},
    "release": CONTINUES,
    "release longer": CONTINUES,
    "retry": CONTINUES,
    "retry from scratch": CONTINUES,
}
FIELDS: Final[dict[str, dict[str, Any]]] = {
    "release longer": {"max_runtime": "9h"},
    "retry from scratch": {"from_scratch": True},
    "extend": {"epochs": 9},
    "retry with change": {"allow_change": True},
}
SITUATIONS: Final = (
    "queued waiting starting running stopping:hold stopping:release stopping:cancel stopping:pause "
    "stopping:window stopping:runtime held done failed cancelled"
).split()
# the exit code of each verb in each situation
TABLE: Final = {
    "stop": "0 0 0 0 0 0 0 0 0 0 0 1 1 1",
    "cancel": "0 0 0 0 0 0 0 0 0 0 0 1 1 0",
    "release": "0 0 0 0 0 0 1 0 0 1 0 1 1 1",
    "release longer": "0 0 0 0 0 0 1 0 0 0 0 1 1 1",
    "retry": "0 0 1 1 0 0 0 0 0 1 0 1 0 0",
    "retry from scratch": "0 0 1 1 1 1 1 1 1 1 0 0 0 0",
    "extend": "1 1 1 1 1 1 1 1 1 1 1 1 1 1",  # one that has trained: tests/crash/test_extend.py
    "fork": "1 1 1 1 1 1 1 1 1 1 1 1 1 1",  # a command cannot be forked: tests/crash/test_fork.py
    "priority": "0 0 0 0 0 0 0 0 0 0 0 0 0 0",
}


class Desk:
    """Carry out requests about the jobs of one home, as its daemon does."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.ledger = Ledger.open(home.ledger)
        self.attempts = Attempts(home, self.ledger, Launcher())
        file = QueueFile(home)
        pool = Pool(self.ledger, Monitor("-1"), file, free_share=0.8)
        pruning = Pruning(home, self.ledger, Retention(), self.attempts)
        queue = Queue(self.ledger, self.attempts, pool, file, slots=1)
        checks = Checks(home, self.ledger, Background())
        code = PresentCode(Snapshots(home.sources, SourceLimits(), home.root), Background())
        tools = Tools(home, self.ledger, self.attempts, pruning, queue, checks, code)
        self._dispatcher = Dispatcher(tools)

    def ask(self, verb: str, job: str) -> dict[str, Any]:
        """Carry out a request and return its answer as a verb reads it."""
        fields = {**FIELDS.get(verb, {}), **({"value": 3} if verb == "priority" else {})}
        self._dispatcher.carry_out(
            Request(self.home.inbox / "x", verb.split(maxsplit=1)[0], job, fields)
        )
        return self.ledger.events(kind="request_answered", newest=1)[0].data

    def job(self, situation: str) -> JobRow:
        """Make a job that is in this state; after the colon what it was asked to do."""
        state, _, wish = situation.partition(":")
        name = situation.replace(":", "-")
        submit.drop(self.home, f"{name}.toml", b"command = ['true']\nworkdir = '/'\n")
        Inbox(self.home, self.ledger).scan(time.time() + 60)
        job = f"{name}-1"
        way = {
            "queued": [],
            "waiting": ["waiting"],
            "starting": ["starting"],
            "running": ["starting", "running"],
            "stopping": ["starting", "running", "stopping"],
            "held": ["held"],
            "done": ["starting", "done"],
            "failed": ["starting", "failed"],
            "cancelled": ["cancelled"],
        }[state]
        for step in way:
            if step == "starting":
                self.ledger.begin_attempt(job, 1, time.time())
            last = wish if step == "stopping" else None
            self.ledger.set_state(job, JobState(step), "So.", now=time.time(), wish=last or None)
        return self.row(job)

    def row(self, job: str) -> JobRow:
        row = self.ledger.job(job)
        assert row is not None
        return row

    def end(self, job: str) -> None:
        """Let the attempt of a stopping job end: it saved and exited."""
        journal.append(
            self.home.run(job).journal,
            "attempt_ended",
            attempt=1,
            exit_code=75,
            signal=None,
            cause="preempted",
            stop_requested=True,
            seconds=1.0,
        )

        def has_ended() -> bool:
            self.attempts.watch()  # a tick looks at as many jobs as its time allows
            return self.row(job).state != JobState.STOPPING

        wait_for(has_ended, f"the attempt of {job} is settled")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    home = Home(tmp_path / "home")
    home.create()
    made = Desk(home)
    yield made
    made.ledger.close()


@pytest.mark.parametrize("verb", TABLE)
def test_the_exit_code_says_what_becomes_of_the_job(desk: Desk, verb: str) -> None:
    """In every state; a refusal has a reason and a command that names the job."""
    codes, untrue = [], []
    for situation in SITUATIONS:
        job = desk.job(situation)
        answer = desk.ask(verb, job.id)
        codes.append(str(answer["code"]))
        if answer["code"]:
            assert answer["answer"].startswith("It "), answer
            assert "`rekindle " in answer["hint"], answer
            assert desk.row(job.id).state == job.state, (situation, answer)
        if desk.row(job.id).state == JobState.STOPPING:
            desk.end(job.id)
        after = desk.row(job.id)
        if not answer["code"] and after.state not in WANTED.get(verb, set(JobState)):
            untrue.append((situation, answer["answer"], after.state))
    assert untrue == []
    assert " ".join(codes) == TABLE[verb], dict(zip(SITUATIONS, codes, strict=True))


@pytest.mark.parametrize(
    ("verbs", "codes", "state"),
    [
        ("stop release", [0, 0], JobState.QUEUED),
        ("stop release stop", [0, 0, 0], JobState.HELD),
        ("cancel retry", [0, 0], JobState.QUEUED),
        ("cancel release", [0, 1], JobState.CANCELLED),
        ("stop stop", [0, 0], JobState.HELD),
        ("stop cancel", [0, 0], JobState.CANCELLED),
        ("release release", [0, 0], JobState.RUNNING),
    ],
)
def test_the_last_request_about_a_running_job_counts(
    desk: Desk, verbs: str, codes: list[int], state: JobState
) -> None:
    """All of them before its attempt has ended; `ls` shows the latest answer as the reason."""
    job = desk.job("running").id
    assert [desk.ask(verb, job)["code"] for verb in verbs.split()] == codes
    if desk.row(job).state == JobState.STOPPING:
        if verbs == "stop release":
            assert "returns to the queue" in desk.row(job).reason
        desk.end(job)
    assert desk.row(job).state == state


def test_a_release_is_remembered_by_the_next_daemon(desk: Desk) -> None:
    """The daemon ends between the answer and the end of the attempt."""
    job = desk.job("running").id
    desk.ask("stop", job)
    desk.ask("release", job)
    desk.ledger.close()
    again = Desk(desk.home)
    again.end(job)
    row = again.row(job)
    assert (row.state, row.wish, row.failures) == (JobState.QUEUED, None, 0)
    assert row.reason.startswith("It was stopped and released")
    again.ledger.close()


def test_a_verb_about_an_unknown_job_is_not_found(desk: Desk) -> None:
    """It may have been removed after the verb looked for it."""
    answer = desk.ask("stop", "nobody-1")
    assert (answer["code"], answer["answer"]) == (3, "There is no job nobody-1.")


def test_a_job_whose_time_is_used_up_is_not_released_to_be_held_again(desk: Desk) -> None:
    """Without a new limit `release` would be followed by the same reason in the morning."""
    spec = b"command = ['true']\nworkdir = '/'\n[limits]\nmax_runtime = '1h'\n"
    submit.drop(desk.home, "long.toml", spec)
    Inbox(desk.home, desk.ledger).scan(time.time() + 60)
    job = "long-1"
    desk.ledger.begin_attempt(job, 1, time.time())
    desk.ledger.set_state(job, JobState.STARTING, "So.", now=time.time())
    desk.ledger.update_attempt(job, 1, outcome="done", seconds=3600.0)
    desk.ledger.set_state(job, JobState.HELD, "So.", now=time.time())
    refused = desk.ask("release", job)
    assert (refused["code"], desk.row(job).state) == (1, JobState.HELD)
    assert f"release {job} --max-runtime" in refused["hint"]
    assert desk.ask("release longer", job)["code"] == 0
    assert desk.row(job).state == JobState.QUEUED


def test_a_retry_that_is_refused_changes_no_spec(desk: Desk) -> None:
    """The answer says that nothing was done: a later release must not allow the change."""
    job = desk.job("stopping:runtime").id
    before = desk.home.run(job).job_file.read_text()
    assert desk.ask("retry with change", job)["code"] == 1
    assert desk.home.run(job).job_file.read_text() == before

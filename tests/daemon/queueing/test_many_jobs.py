"""No tick walks over all jobs: what concerns thousands is done in pieces.

Kinds of source: schedulers whose loop rewrites every waiting job at each pass (one UPDATE and one
fsync for each), and start-ups that grow with the square of a dependency list.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.gpus.monitor import Monitor
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.queue_file import QueueFile
from rekindle.daemon.queueing import wait_reasons
from rekindle.daemon.queueing.queue import Queue
from rekindle.jobs.job import Job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

MANY = 400


class Statements:
    """Count statements and commits of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.updates = 0
        self.selects = 0
        self.commits = 0
        ledger._db.set_trace_callback(self._count)

    def _count(self, text: str) -> None:
        self.updates += text.startswith(("UPDATE", "INSERT"))
        self.selects += text.startswith("SELECT")
        self.commits += text == "COMMIT"

    def take(self) -> tuple[int, int, int]:
        found = (self.updates, self.selects, self.commits)
        self.updates = self.selects = self.commits = 0
        return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    ledger = Ledger.open(home.ledger)
    yield ledger
    ledger.close()


def submit(home: Home, ledger: Ledger, count: int, after: list[str]) -> None:
    with ledger.transaction():
        for n in range(count):
            job = f"w{n}-1"
            needs = after if n else []
            spec = Job(name=f"w{n}", id=job, workdir="/", command=["true"], after=needs)
            ledger.insert_job(
                job,
                name=f"w{n}",
                number=1,
                run_dir=str(home.run(job).root),
                priority=0,
                spec=spec.to_json(),
                claim=job,
                submitted_at=1e9 + n,
            )


def queue_of(home: Home, ledger: Ledger) -> Queue:
    file = QueueFile(home)
    pool = Pool(ledger, Monitor("-1"), file, free_share=0.8)
    return Queue(ledger, Attempts(home, ledger, Launcher()), pool, file, slots=0)


def settle(queue: Queue) -> None:
    """Tick until all is sorted and recorded."""
    end = time.monotonic() + 60
    queue.tick()
    while queue.is_behind:
        queue.tick()
        assert time.monotonic() < end


def test_a_tick_at_rest_reads_and_writes_no_job(home: Home, ledger: Ledger) -> None:
    submit(home, ledger, MANY, [])
    queue = queue_of(home, ledger)
    queue.load()
    settle(queue)
    counted = Statements(ledger)
    for _ in range(20):
        queue.watch_gpus()
        queue.tick()
    assert counted.take() == (0, 0, 0)


def test_a_pause_of_many_jobs_is_written_in_pieces(home: Home, ledger: Ledger) -> None:
    """A bounded number of rows, and one commit, for each tick; in the end all say why."""
    submit(home, ledger, MANY, [])
    queue = queue_of(home, ledger)
    queue.load()
    settle(queue)
    queue.pause(free=False)
    counted = Statements(ledger)
    ticks = 0
    while queue.is_behind or not ticks:
        queue.tick()
        ticks += 1
        updates, _, commits = counted.take()
        assert updates <= 2 * wait_reasons._MOST_ROWS + 10
        assert commits <= 3
    assert ticks >= MANY / wait_reasons._MOST_ROWS
    assert {job.reason for job in ledger.jobs()} == {"The queue is paused."}


def test_thousands_that_wait_for_one_job_are_not_judged_at_each_of_its_starts(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its end, or a hold, makes a difference to them; they are written in few commits.

    A slow machine does less in a tick, so that it needs more of them: the budget is lifted here.
    """
    monkeypatch.setattr("rekindle.daemon.queueing.lineup._BUDGET_S", 60.0)
    submit(home, ledger, MANY, ["w0-1"])
    queue = queue_of(home, ledger)
    counted = Statements(ledger)
    queue.load()
    settle(queue)
    assert counted.take()[2] < MANY / 5
    job = ledger.job("w5-1")
    assert job is not None
    assert (job.state, job.reason) == (JobState.WAITING, "It waits for w0-1.")
    ledger.begin_attempt("w0-1", 1, 1.0)
    ledger.set_state("w0-1", JobState.STARTING, "It starts.", now=1.0)
    ledger.set_state("w0-1", JobState.RUNNING, "It runs.", now=1.0)
    counted.take()
    settle(queue)
    assert sum(counted.take()) < 20
    ledger.set_state("w0-1", JobState.HELD, "It is held.", now=1.0)
    settle(queue)
    assert ledger.count({JobState.WAITING}) == MANY - 1
    reasons = {job.reason for job in ledger.jobs({JobState.WAITING})}
    assert reasons == {"It waits for w0-1, which is held."}


def test_no_job_starts_before_all_are_sorted(
    home: Home, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not sorted yet may have a higher priority."""
    monkeypatch.setattr("rekindle.daemon.queueing.lineup._BUDGET_S", 0.0)
    submit(home, ledger, 60, [])
    queue = queue_of(home, ledger)
    queue.load()
    started: list[str] = []
    monkeypatch.setattr(queue, "_start_next", lambda: started.append("asked"))
    ticks = 0
    while not started:
        queue.tick()
        ticks += 1
        assert ticks < 200
    assert ticks > 20
    assert not queue._lineup.is_behind

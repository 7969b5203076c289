"""Pruning never removes the last good or the best checkpoint of a job."""

import json
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig, wait_for

from rekindle.daemon.attempts.attempts import Attempts
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.config import Retention
from rekindle.daemon.retention import retention
from rekindle.daemon.retention.pruning import Pruning
from rekindle.daemon.retention.retention import Piece, Stock
from rekindle.jobs.job import Job
from rekindle.state import lock
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, journal
from rekindle.state.run.checkpoints import Position

MB = 10**6


def make_job(
    home: Home,
    ledger: Ledger,
    name: str,
    state: JobState,
    *,
    at: float = 1000.0,
    best: int = 2,
    count: int = 5,
    bad: tuple[int, ...] = (),
    end: bool = False,
) -> Run:
    """A job in ``state`` with ``count`` checkpoints, of which one is the best and some are bad."""
    run = home.run(f"{name}-1")
    run.logs.mkdir(parents=True)
    run.checkpoints.mkdir()
    job = Job(name=name, id=run.id, workdir="/", script="/x.py", claim=name)
    run.job_file.write_text(job.to_json())
    ledger.insert_job(
        run.id,
        name=name,
        number=1,
        run_dir=str(run.root),
        priority=0,
        spec=job.to_json(),
        claim=name,
        submitted_at=at,
    )
    for n in range(1, count + 1):
        made = checkpoints.commit(
            run.checkpoints,
            Position(0, n, 10 * n, end and n == 1),
            lambda folder: (folder / checkpoints.STATE).write_bytes(os.urandom(MB)) and None,
            {"monitor": {"name": "val_loss", "best": 1.0, "best_name": None}},
        )
        journal.append(
            run.journal,
            "checkpoint_committed",
            attempt=1,
            name=made.name,
            epoch=n,
            step=10 * n,
            bytes=made.bytes,
            best=n == best,
            end=made.position.end,
        )
        if n in bad:
            data = bytearray(made.state.read_bytes())
            data[7] ^= 1
            made.state.write_bytes(data)
    replay = journal.replay(run.journal)
    ledger.ingest(run.id, replay.entries, replay.offset)
    for step in {
        JobState.DONE: [JobState.STARTING, JobState.DONE],
        JobState.HELD: [JobState.HELD],
        JobState.RUNNING: [JobState.STARTING, JobState.RUNNING],
    }.get(state, []):
        ledger.set_state(run.id, step, "test", now=at)
    return run


def names(run: Run) -> set[int]:
    return {c.position.epoch for c in checkpoints.scan(run.checkpoints)}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def prune(home: Home, ledger: Ledger, limits: Retention) -> None:
    """One whole round of the daemon's pruning."""
    pruning = Pruning(home, ledger, limits, Attempts(home, ledger, Launcher()))
    pruning.begin(None, limits)
    wait_for(lambda: pruning.tick() or not pruning.busy, "the round ends")


def test_of_a_finished_job_the_last_good_the_best_and_the_ends_stay(home: Home) -> None:
    """The newest is damaged: it stays for a person, and the last *good* one stays, too."""
    ledger = Ledger.open(home.ledger)
    run = make_job(home, ledger, "a", JobState.DONE, count=6, best=3, bad=(6,), end=True)
    bad = checkpoints.Checkpoint(run.checkpoints / "e0002-s00000020", Position(0, 2, 20))
    where = checkpoints.quarantine(bad, "a test")
    journal.append(
        run.journal,
        "checkpoint_refused",
        attempt=1,
        name=bad.name,
        reason="a test",
        quarantined_to=str(where),
    )
    prune(home, ledger, Retention(max_age=60.0))
    assert names(run) == {1, 3, 5, 6}
    assert list(run.quarantine.iterdir()) == []
    found = checkpoints.latest_good(run.checkpoints)
    assert found.checkpoint is not None
    assert found.checkpoint.position.epoch == 5
    assert {c.epoch for c in ledger.checkpoints("a-1")} == {1, 3, 5, 6}
    pruned = [e for e in ledger.events() if e.kind == "pruned"]
    assert pruned[-1].data["jobs"] == ["a-1"]
    assert pruned[-1].data["bytes"] > 2 * MB
    ledger.close()


def test_the_limits_of_the_configuration_are_kept_by_themselves(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oldest first, only as much as is needed; a limit that cannot be met is logged."""
    monkeypatch.setattr("rekindle.daemon.retention.pruning._FIRST_S", 0.0)
    ledger = Ledger.open(home.ledger)
    old = make_job(home, ledger, "old", JobState.DONE, at=1000.0)
    new = make_job(home, ledger, "new", JobState.DONE, at=2000.0)

    def one_round(limit: int) -> list[str]:
        before = len(ledger.events())
        pruning = Pruning(
            home, ledger, Retention(max_bytes=limit), Attempts(home, ledger, Launcher())
        )
        pruning.tick()
        assert pruning.busy
        wait_for(lambda: pruning.tick() or not pruning.busy, "the round ends")
        return [e.kind for e in ledger.events()][before:]

    assert one_round(int(8.5 * MB)) == ["pruned"]
    assert (names(old), names(new)) == ({2, 5}, {1, 2, 3, 4, 5})
    assert one_round(int(8.5 * MB)) == []
    assert one_round(MB) == ["pruned", "home_above_limit"]
    assert (names(old), names(new)) == ({2, 5}, {2, 5})
    ledger.close()


def test_where_no_checkpoint_is_good_nothing_is_removed(home: Home) -> None:
    """A person may still save something of them."""
    ledger = Ledger.open(home.ledger)
    run = make_job(home, ledger, "a", JobState.DONE, count=3, bad=(1, 2, 3))
    prune(home, ledger, Retention(max_bytes=0))
    assert names(run) == {1, 2, 3}
    assert [e.data["passed_over"] for e in ledger.events() if e.kind == "pruned"] == [
        {"a-1": "none of its checkpoints is good"}
    ]
    ledger.close()


def test_running_and_queued_jobs_are_left_alone_and_held_ones_keep_what_their_spec_says(
    home: Home,
) -> None:
    """Their trainers prune for themselves."""
    ledger = Ledger.open(home.ledger)
    runs = {
        state: make_job(home, ledger, state, state)
        for state in (JobState.RUNNING, JobState.QUEUED, JobState.HELD)
    }
    prune(home, ledger, Retention(max_bytes=0))
    assert names(runs[JobState.RUNNING]) == names(runs[JobState.QUEUED]) == {1, 2, 3, 4, 5}
    assert names(runs[JobState.HELD]) == {2, 3, 4, 5}
    ledger.close()


def test_a_job_whose_lock_is_held_is_passed_over(home: Home) -> None:
    """Whatever the ledger says: a live process owns its run directory."""
    ledger = Ledger.open(home.ledger)
    run = make_job(home, ledger, "a", JobState.DONE)
    with lock.held(run.lock, "x", "x"):
        prune(home, ledger, Retention(max_bytes=0))
    assert names(run) == {1, 2, 3, 4, 5}
    ledger.close()


def test_a_request_during_a_round_gets_a_round_of_its_own(home: Home) -> None:
    """It is neither lost nor answered with the numbers of the other alone."""
    ledger = Ledger.open(home.ledger)
    runs = [make_job(home, ledger, name, JobState.DONE) for name in "ab"]
    pruning = Pruning(home, ledger, Retention(), Attempts(home, ledger, Launcher()))
    assert pruning.begin(["a-1"], Retention(max_bytes=0)) == "Pruning has begun."
    assert "current round" in pruning.begin(["b-1"], Retention(max_bytes=0))
    wait_for(lambda: pruning.tick() or not pruning.busy, "both rounds end")
    assert [names(run) for run in runs] == [{2, 5}, {2, 5}]
    assert [e.data["jobs"] for e in ledger.events(kind="pruned")] == [["a-1"], ["b-1"]]
    ledger.close()


def test_what_a_killed_daemon_removed_is_known_to_the_next(home: Home) -> None:
    """The journal says it; the ledger takes it in at the start."""
    ledger = Ledger.open(home.ledger)
    run = make_job(home, ledger, "a", JobState.DONE)
    stock = retention.stocks(ledger)[0]
    retention.reduce(run, stock)
    assert len(ledger.checkpoints("a-1")) == 5
    Pruning(home, ledger, Retention(), Attempts(home, ledger, Launcher())).catch_up()
    assert {c.epoch for c in ledger.checkpoints("a-1")} == names(run) == {2, 5}
    ledger.close()


stock = st.builds(
    Stock,
    job=st.text("abc", min_size=1, max_size=3),
    over=st.booleans(),
    since=st.integers(0, 100).map(float),
    attempts=st.just(1),
    keep=st.just(1),
    best=st.just(frozenset[str]()),
    removable=st.lists(st.builds(Piece, st.just(Path("x")), st.integers(1, 50)), max_size=3).map(
        tuple
    ),
)


@settings(max_examples=200)
@given(
    st.lists(stock, max_size=8),
    st.integers(0, 300),
    st.integers(0, 300),
    st.none() | st.integers(0, 100).map(float),
)
def test_the_choice_frees_enough_and_nothing_more(
    found: list[Stock], total: int, limit: int, age: float | None
) -> None:
    """By size: just as many as are needed, jobs that are over first; by age: all that are old."""
    chosen = retention.choose(found, Retention(age, limit), total=total, now=100.0)
    assert all(c.removable for c in chosen)
    old = [c for c in found if age is not None and c.over and c.removable and 100.0 - c.since > age]
    assert all(any(c is o for c in chosen) for o in old)
    left = total - sum(c.bytes for c in chosen)
    unchosen = [c for c in found if c.removable and not any(c is d for d in chosen)]
    assert left <= limit or not unchosen
    young = [c for c in chosen if not any(c is o for o in old)]
    if young:
        assert left + young[-1].bytes > limit, "the last one was not needed"
    if any(not c.over for c in young):
        assert not any(c.over for c in unchosen)


def test_snapshots_that_no_run_links_to_go_after_a_while(home: Home) -> None:
    """A young one may just be taken for a job that is being accepted."""
    for name in ("used", "old", "young"):
        (home.sources / name / "tree").mkdir(parents=True)
        (home.sources / name / "tree" / "x.py").write_text("x")
    run = home.run("a-1")
    run.root.mkdir()
    run.source.symlink_to("../../sources/used/tree")
    now = time.time()
    for name in ("used", "old"):
        os.utime(home.sources / name, (now - 7200, now - 7200))
    assert retention.remove_unused_sources(home, now) == 1
    assert {p.name for p in home.sources.iterdir()} == {"used", "young"}


def test_prune_shows_first_and_removes_on_yes(tmp_path: Path) -> None:
    """The verb beside a real daemon, and the automatic limit of a configured one."""
    rig = Rig(tmp_path / "home")
    ledger = Ledger.open(rig.home.ledger)
    runs = [
        make_job(rig.home, ledger, name, JobState.DONE, at=time.time() - 10 * n)
        for n, name in enumerate(random.Random(1).sample("abc", 3))
    ]
    ledger.close()
    try:
        rig.start()
        wait_for(rig.home.daemon_status.exists, "the daemon is up")
        shown = json.loads(rig.cli("prune", "--json"))
        assert [len(job["checkpoints"]) for job in shown["jobs"]] == [3, 3, 3]
        assert 9 * MB < shown["bytes"] < 10 * MB
        assert "9 checkpoints" not in rig.cli("prune")
        said = rig.cli("prune", "--older-than", "1 day")
        assert said.startswith("0 B can be freed")
        assert "has no [retention]." in said
        assert all(names(run) == {1, 2, 3, 4, 5} for run in runs)
        assert "Removed 3 checkpoints of 1 job" in rig.cli("prune", "a-1", "--yes")
        assert names(rig.home.run("a-1")) == {2, 5}
        assert names(rig.home.run("b-1")) == {1, 2, 3, 4, 5}
        assert "Removed 6 checkpoints of 2 jobs" in rig.cli("prune", "--yes")
        assert all(names(run) == {2, 5} for run in runs)
        assert json.loads(rig.cli("verify", "--json"))["findings"] == []
        rig.cli("prune", "--older-than", "soon", code=2)
    finally:
        rig.close()


def test_a_stage_that_an_exception_ended_keeps_what_a_relaunch_of_the_job_needs(home: Home) -> None:
    """The preview equals the removal; after `retry` no stage starts from zero."""
    ledger = Ledger.open(home.ledger)
    run = make_job(home, ledger, "a", JobState.DONE, count=3, best=0)
    for n in (1, 2):
        checkpoints.commit(
            run.checkpoints,
            Position(1, n, 100 * n),
            lambda folder: (folder / checkpoints.STATE).write_bytes(b"x") and None,
            {},
        )
    [stock] = [retention.look(run, stock) for stock in retention.stocks(ledger)]
    would = {piece.path.name for piece in stock.removable}
    assert would == {"e0001-s00000100-f1", "e0002-s00000020", "e0001-s00000010"}
    removed = retention.reduce(run, stock)
    assert set(removed.names) == would
    assert {c.name for c in checkpoints.scan(run.checkpoints)} == {
        "e0002-s00000200-f1",
        "e0003-s00000030",
    }
    ledger.close()

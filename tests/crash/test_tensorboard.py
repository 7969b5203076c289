"""TensorBoard event files: those of this run are truncated, others are not changed."""

import signal
import socket
import time
from pathlib import Path

import lives as driver
import matrix
import pytest
from lives import Blow, Lives

from rekindle.jobs.capture.tensorboard_files import Author, authors
from rekindle.jobs.job import CheckpointPolicy


def _name(pid: int, *, host: str | None = None, at: float | None = None) -> str:
    seconds = int(time.time() if at is None else at)
    return f"events.out.tfevents.{seconds}.{host or socket.gethostname()}.{pid}.0.v2"


@pytest.mark.crash
@pytest.mark.slow
def test_event_files_of_others_in_the_same_folder_are_not_changed(tmp_path: Path) -> None:
    """They grow and appear while the job is down; a dangling link ends no training."""
    calm = driver.undisturbed(_lives(tmp_path / "calm"))
    lives = _lives(tmp_path / "storm")
    others = lives.work / "logs" / "other"
    others.mkdir(parents=True)
    grows = others / _name(1)
    grows.write_bytes(b"a" * 100)
    (others / _name(1, at=1)).symlink_to("gone")
    report = lives.run.root / "report.jsonl"

    lives.start(Blow("step", 31), report)
    assert lives.wait()["signal"] == signal.SIGKILL, lives.log()
    report.unlink()
    grows.write_bytes(b"b" * 1000)
    trainer = lives.trainer()
    assert trainer is not None
    for came in (
        _name(1, at=2),
        _name(trainer.pid, host="other.example"),
        _name(trainer.pid, at=time.time() - 9000),
        "events.out.tfevents.of-a-tool",
    ):
        (others / came).write_bytes(b"c" * 1000)
    left = _content(others)

    # the second attempt ends before it has saved: its files must be renamed; the third trains
    # steps after its save, whose events the fourth cuts off
    storm = driver.stormy(lives, [Blow("step", 3), Blow("step", 5, signal.SIGTERM)])
    print(storm.kills, [f"e{r['epoch']}-s{r['step']}" for r in storm.resumed])
    assert left == _content(others)
    assert 3 == storm.in_mid_epoch
    assert [28, 28] == [receipt["step"] for receipt in storm.resumed[1:3]]
    assert storm.resumed[3]["lost_steps"] == 4
    # each event exists once, unchanged
    assert [] == driver.differences(calm.digests, storm.digests)
    assert list((lives.work / "logs" / "train").glob("events.out.lost.*"))


@pytest.mark.crash
@pytest.mark.slow
def test_an_epoch_that_is_resumed_behind_its_last_batch_writes_no_other_summaries(
    tmp_path: Path,
) -> None:
    """With a number as ``update_freq`` the last batch decides whether those of the epoch are."""

    def lives(root: Path) -> Lives:
        policy = CheckpointPolicy(every_steps=7)  # an epoch has 21 batches
        return Lives(root, matrix.SCRIPT, args=["tensorboard"], policy=policy)

    calm = driver.undisturbed(lives(tmp_path / "calm"))
    storm = driver.stormy(lives(tmp_path / "storm"), [Blow("validation", 1, signal.SIGKILL)])
    assert [(0, 0), (0, 21)] == [(r["epoch"], r["step"]) for r in storm.resumed]
    assert [] == driver.differences(calm.digests, storm.digests)


def _lives(root: Path) -> Lives:
    return Lives(
        root, Path(__file__).parent / "scripts" / "board.py", policy=CheckpointPolicy(every_steps=7)
    )


def _content(folder: Path) -> dict[str, bytes | None]:
    return {file.name: file.read_bytes() if file.exists() else None for file in folder.iterdir()}


def test_a_trainer_is_identified_by_host_pid_and_time() -> None:
    """From the journal: an unknown end is at the latest the start of the next attempt."""
    entries = [
        {"kind": "attempt_started", "attempt": 1, "trainer_pid": 50, "t": 1000.4},
        {"kind": "provenance", "attempt": 1, "machine": {"host": "old.example"}, "t": 1001.0},
        {"kind": "attempt_started", "attempt": 2, "trainer_pid": 60, "t": 2000.0},
        {"kind": "attempt_ended", "attempt": 2, "t": 2100.0},
        {"kind": "attempt_started", "attempt": 3, "trainer_pid": 70, "t": 3000.0},
    ]
    first, second = authors(entries, 3, "new")
    assert Author("old.example", 50, 1000.4, 2000.0) == first
    assert Author("new", 60, 2000.0, 2100.0) == second
    assert first.made("events.out.tfevents.1000.old.example.50.0.v2")
    assert first.made("events.out.tfevents.1999.old.example.50.17")
    for other in (
        "events.out.tfevents.1000.new.50.0.v2",
        "events.out.tfevents.1000.old.50.0.v2",
        "events.out.tfevents.1000.old.example.5.50.v2",
        "events.out.tfevents.998.old.example.50.0.v2",
        "events.out.tfevents.2002.old.example.50.0.v2",
        "events.out.lost.1000.old.example.50.0.v2",
        "notes.tfevents.1000.txt",
    ):
        assert not first.made(other), other

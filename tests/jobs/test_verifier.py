"""The keeper reads checkpoints while its trainer imports, and the trainer need not.

Of files that have changed since, or with a keeper that has ended, it reads by itself.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import wait_for

from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.handover.order import Order
from rekindle.jobs.handover.receiver import Receiver
from rekindle.jobs.handover.snapshots import Keeper
from rekindle.jobs.handover.verifier import Verifier, candidates
from rekindle.jobs.journal_writer import Record
from rekindle.jobs.saving.writer import Writer
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, tensors
from rekindle.state.run.checkpoints import Checkpoint, Position

LARGE = np.arange(5 << 20, dtype=np.float32)  # 20 MiB: two chunks


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    made.checkpoints.mkdir(parents=True)
    return made


def commit(run: Run, stage: int, step: int, array: Any = LARGE) -> Checkpoint:
    def write(folder: Path) -> None:
        tensors.save(folder / checkpoints.STATE, {"a": array}, {"state": "{}"})

    at = Position(stage, 0, step)
    checkpoints.commit(run.checkpoints, at, write, {"attempt": 1, "finite": True})
    return next(one for one in checkpoints.scan(run.checkpoints) if one.name == at.name)


def flip(file: Path) -> None:
    """Flip a bit in the middle of a file."""
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([byte ^ 1]))


@pytest.fixture
def receiver(run: Run) -> Iterator[Receiver]:
    """Of a keeper, which reads what is there once it is started."""
    made = Receiver(run, Record(run.journal, 2))
    yield made
    made.finish()


def ask(receiver: Receiver) -> Keeper:
    keeper = Keeper(os.dup(receiver.trainers_end))
    receiver.start()
    return keeper


def after_reading(receiver: Receiver, last: Checkpoint) -> Keeper:
    """Start a keeper, and wait until it has read a checkpoint."""
    keeper = ask(receiver)
    wait_for(lambda: last.name in receiver._verifier._good, f"the keeper reads {last.name}")
    return keeper


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name the checkpoints that are verified in the thread of a trainer."""
    found: list[str] = []
    plain = checkpoints.verify

    def verify(checkpoint: Checkpoint, **more: Any) -> str | None:
        if not more:  # the keeper may end it
            found.append(checkpoint.name)
        return plain(checkpoint, **more)

    monkeypatch.setattr(checkpoints, "verify", verify)
    return found


def writer(run: Run, keeper: Keeper | None) -> Writer:
    return Writer(run, AttemptLog(run, 2, []), keeper)


def test_a_large_checkpoint_is_read_by_the_keeper_alone(
    run: Run, receiver: Receiver, reads: list[str]
) -> None:
    good = commit(run, 0, 4)
    keeper = after_reading(receiver, good)
    assert writer(run, keeper).verify(good) is None
    assert reads == []


def test_a_byte_that_changes_after_that_is_found(
    run: Run, receiver: Receiver, reads: list[str]
) -> None:
    """Also with the old size and times: nobody can set the time of the last change."""
    good = commit(run, 0, 4)
    keeper = after_reading(receiver, good)
    before = good.state.stat()
    flip(good.state)
    os.utime(good.state, ns=(before.st_atime_ns, before.st_mtime_ns))
    reason = writer(run, keeper).verify(good)
    assert reason == f"{checkpoints.STATE} does not match its digest in the manifest"
    assert reads == [good.name]


def test_what_the_keeper_finds_bad_the_trainer_reads_and_names(
    run: Run, receiver: Receiver
) -> None:
    bad = commit(run, 0, 4)
    flip(bad.state)
    good = commit(run, 1, 8)
    keeper = after_reading(receiver, good)  # that comes later
    assert keeper.verified(bad.name) is None
    reason = writer(run, keeper).verify(bad)
    assert reason is not None
    assert "does not match its digest" in reason


def test_a_keeper_that_has_ended_is_not_waited_for(
    run: Run, receiver: Receiver, reads: list[str]
) -> None:
    good = commit(run, 0, 4)
    keeper = ask(receiver)
    receiver.finish()
    made = writer(run, keeper)
    assert made.verify(good) is None
    assert reads == [good.name]
    arrays: dict[str, Any] = {"a": np.arange(3.0)}
    made.take(arrays)
    order = Order(Position(0, 0, 8), {"attempt": 2, "finite": True}, "steps", False, {}, 0.0)
    assert made.write(order, arrays, {"state": "{}"}).error is None  # and it saves by itself
    assert len(checkpoints.scan(run.checkpoints)) == 2


def test_an_answer_that_nobody_waited_for_is_not_taken_for_another(
    run: Run, receiver: Receiver
) -> None:
    """A script's timeout may interrupt the wait for it."""
    good = commit(run, 0, 4)
    keeper = after_reading(receiver, good)
    keeper._send({"verified": good.name})  # and the wait is interrupted
    made = writer(run, keeper)
    arrays: dict[str, Any] = {"a": np.arange(3.0)}
    made.take(arrays)
    order = Order(Position(0, 0, 8), {"attempt": 2, "finite": True}, "steps", False, {}, 0.0)
    assert made.write(order, arrays, {"state": "{}"}).error is None
    assert keeper.verified(good.name) is not None


def test_small_checkpoints_are_left_to_the_trainer(
    run: Run, receiver: Receiver, reads: list[str]
) -> None:
    small = commit(run, 0, 4, np.arange(10.0))
    keeper = ask(receiver)
    assert writer(run, keeper).verify(small) is None
    assert reads == [small.name]


def test_the_newest_of_each_training_and_two_of_the_last(run: Run) -> None:
    """In the order in which a relaunch comes to them: that of the trainings."""
    for stage, step in ((0, 1), (0, 2), (1, 3), (1, 4), (1, 5)):
        commit(run, stage, step)
    commit(run, 2, 6, np.arange(10.0))
    found = [(one.position.stage, one.position.step) for one in candidates(run)]
    assert found == [(0, 2), (1, 5)]  # the last training has a small one alone
    commit(run, 2, 7)
    commit(run, 2, 8)
    found = [(one.position.stage, one.position.step) for one in candidates(run)]
    assert found == [(0, 2), (1, 5), (2, 8), (2, 7)]


def test_an_end_stops_the_reading(run: Run) -> None:
    good = commit(run, 0, 4)
    made = Verifier(run)
    made.end()
    made._work()
    assert made.answer(good.name) == {"files": None}


def test_what_the_trainer_asks_for_first_is_left_to_it(run: Run) -> None:
    """It reads with threads of its own: nobody reads twice."""
    first, second = commit(run, 0, 4), commit(run, 1, 8)
    made = Verifier(run)
    read: list[str] = []
    plain = made._read

    def reading(checkpoint: Checkpoint) -> Any:
        read.append(checkpoint.name)
        if checkpoint.name == first.name:
            # the trainer has come to the second one meanwhile
            assert made.answer(second.name) == {"files": None}
        return plain(checkpoint)

    made._read = reading  # type: ignore[method-assign]
    made._work()
    assert read == [first.name]
    assert made.answer(first.name)["files"] is not None

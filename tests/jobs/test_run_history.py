"""Steps and seconds that a relaunch reports as repeated, in each stage."""

from pathlib import Path
from typing import Any

import pytest

from rekindle.jobs.attempt.run_history import RunHistory, Span, spans
from rekindle.jobs.heartbeat import Beat
from rekindle.jobs.job import CheckpointPolicy
from rekindle.jobs.saving.cadence import PRIOR, Costs
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Checkpoint, Position


def receipt(
    attempt: int, stage: int, step: int, t: float, checkpoint: str | None = None
) -> dict[str, Any]:
    return {
        "kind": "resumed",
        "attempt": attempt,
        "stage": stage,
        "step": step,
        "t": t,
        "checkpoint": checkpoint,
    }


def commit(folder: Path, *positions: Position, **manifest: Any) -> list[Checkpoint]:
    for position in positions:
        checkpoints.commit(
            folder,
            position,
            lambda made: (made / checkpoints.STATE).write_bytes(b"x") and None,
            manifest,
        )
    return checkpoints.scan(folder)


def test_repeated_time_is_training_time_without_hours_of_a_power_loss() -> None:
    """From each attempt's receipt to its last entry or heartbeat."""
    entries = [
        {"kind": "attempt_started", "attempt": 1, "t": 0.0},
        {"kind": "resumed", "attempt": 1, "t": 10.0},
        {"kind": "checkpoint_committed", "attempt": 1, "t": 20.0},
        {"kind": "attempt_ended", "attempt": 1, "t": 9000.0},
        {"kind": "attempt_started", "attempt": 2, "t": 9001.0},
        {"kind": "resumed", "attempt": 2, "t": 9010.0},
        {"kind": "attempt_ended", "attempt": 2, "t": 9500.0},
        {"kind": "attempt_started", "attempt": 3, "t": 9600.0},
    ]
    last = Beat(9100.0, 2, "step", 0, 7)
    assert [Span(0, 10.0, 20.0), Span(0, 9010.0, 9100.0)] == spans(entries, 3, last)
    # the attempt of the last heartbeat had not begun training
    assert [Span(0, 10.0, 20.0)] == spans(entries[:4], 3, Beat(9600.0, 2, "start", 0, 7))
    assert [] == spans([], 1, None)


@pytest.mark.parametrize("kind", ["state_changed", "job_changed", "scratch_requested"])
def test_a_hold_of_hours_is_no_repeated_time(kind: str) -> None:
    """The daemon's entries name the attempt, and may come long after its last step."""
    entries = [
        receipt(1, 0, 0, 100.0),
        {"kind": "epoch_ended", "attempt": 1, "stage": 0, "t": 150.0},
        {"kind": kind, "attempt": 1, "t": 40_000.0, "was": "held", "state": "queued"},
    ]
    past = RunHistory.of(entries, 2, Beat(160.0, 1, "step", 0, 57))
    assert (57, 60.0) == past.repeated(0, 0, None, [])


def test_a_clock_that_is_set_forward_adds_no_repeated_time() -> None:
    """The keeper's own clock bounds what its attempt can have trained; so does a suspension."""
    entries = [
        receipt(1, 0, 0, 100.0),
        {"kind": "epoch_ended", "attempt": 1, "stage": 0, "t": 90_000.0},
        {"kind": "attempt_ended", "attempt": 1, "t": 90_001.0, "seconds": 70.0},
    ]
    past = RunHistory.of(entries, 2, Beat(90_000.5, 1, "step", 0, 57))
    assert (57, 70.0) == past.repeated(0, 0, None, [])


def test_a_stage_left_by_an_exception_repeats_only_its_own_steps(tmp_path: Path) -> None:
    """Its end is repeated, then the next stage is resumed from its own checkpoint."""
    entries = [
        receipt(1, 0, 0, 100.0),
        receipt(1, 1, 50, 200.0),
        {"kind": "epoch_ended", "attempt": 1, "stage": 1, "t": 300.0},
    ]
    past = RunHistory.of(entries, 2, Beat(310.0, 1, "step", 4, 95))
    first, *_ = found = commit(tmp_path, Position(0, 4, 40), Position(1, 4, 90))[::-1]
    assert ({0}, {0: 0, 1: 50}, 1) == (past.left, past.begun, past.last)
    # ten of the first, five of the second; no seconds: the checkpoints are newer than the spans
    assert (15, 0.0) == past.repeated(0, 40, first, found[::-1])
    # once the second has ended, none of its steps is repeated
    ended = commit(tmp_path, Position(1, 5, 95, True))
    assert (10, 0.0) == past.repeated(0, 40, first, ended)
    # an attempt that ended in the first: the steps of the second were counted before
    entries += [receipt(2, 0, 40, 400.0, first.name)]
    past = RunHistory.of(entries, 3, Beat(410.0, 2, "step", 4, 47))
    assert (7, 0.0) == past.repeated(0, 40, first, found[::-1])


def test_each_stage_has_its_own_time(tmp_path: Path) -> None:
    """Hours in the second stage do not count as repeated with the end of the first."""
    entries = [
        receipt(1, 0, 0, 100.0),
        receipt(1, 1, 50, 200.0),
        {"kind": "epoch_ended", "attempt": 1, "stage": 1, "t": 9000.0},
    ]
    past = RunHistory.of(entries, 2, Beat(9000.0, 1, "step", 4, 95))
    assert [Span(0, 100.0, 200.0), Span(1, 200.0, 9000.0)] == past.spans
    # the first has no checkpoint, the second a new one
    assert (50 + 5, 100.0) == past.repeated(0, 0, None, commit(tmp_path, Position(1, 4, 90)))


def test_what_was_trained_while_a_checkpoint_was_written_is_repeated_time(tmp_path: Path) -> None:
    """It holds the state of when its snapshot was taken, however long the disk took."""
    entries = [receipt(1, 0, 0, 100.0), {"kind": "epoch_ended", "attempt": 1, "t": 150.0}]
    past = RunHistory.of(entries, 2, Beat(160.0, 1, "step", 4, 95))
    at = Position(0, 4, 90)
    (made,) = commit(tmp_path, at, taken=148.0)
    assert (5, 12.0) == past.repeated(0, 90, made, [made])


def test_a_kill_between_two_stages_repeats_no_step() -> None:
    """All steps are in the final checkpoint of the first stage."""
    entries = [
        receipt(1, 0, 0, 100.0),
        {"kind": "stage_ended", "attempt": 1, "stage": 0, "t": 150.0},
    ]
    past = RunHistory.of(entries, 2, Beat(150.0, 1, "script", 4, 50))
    assert (0, 0.0) == past.repeated(1, 50, None, [])
    assert set() == past.left


def test_a_start_from_scratch_repeats_all_steps(tmp_path: Path) -> None:
    """Also if the attempt took no checkpoint."""
    entries = [receipt(1, 0, 0, 100.0), receipt(1, 1, 50, 200.0)]
    beat = Beat(210.0, 1, "step", 0, 57)
    assert (57, 110.0) == RunHistory.of(entries, 2, beat).repeated(0, 0, None, [])
    entries += [{"kind": "scratch_requested", "attempt": 1, "t": 220.0}]
    past = RunHistory.of(entries, 2, beat)
    assert (57, 110.0) == past.repeated(0, 0, None, [])
    assert set() == past.left


def saved(attempt: int, step: int, *, stage: int = 0, **more: Any) -> dict[str, Any]:
    name = Position(stage, 0, step).name
    known = {"kind": "checkpoint_committed", "attempt": attempt, "name": name, "stage": stage}
    return {**known, "t": 0.0, "step": step, "seconds": 0.5, "bytes": 12, **more}


def test_each_stage_has_the_costs_of_its_last_saves() -> None:
    """Of the last attempt that saved it; checkpoints that were removed do not count."""
    entries = [
        saved(1, 10, delay=0.1),
        saved(1, 20, delay=0.2),
        {"kind": "checkpoint_pruned", "attempt": 1, "name": Position(0, 0, 20).name, "t": 0.0},
        saved(2, 30, stage=1, seconds=3.0),
        saved(3, 40, stage=2, delay=-1.0, seconds=-2.0),
    ]
    past = RunHistory.of(entries, 4, None)

    def costs(stage: int) -> Costs:
        return past.save_policy(stage, CheckpointPolicy()).costs

    first, second = costs(0), costs(1)
    assert (first.write, first.size, first.delay, first.carried) == (0.5, 12, 0.1, True)
    assert (second.delay, second.measured) == (3.0, None)
    assert costs(2).interval(past.between) > 0, "a script may write into the journal"
    assert costs(3) == Costs()


def test_an_attempt_that_ended_with_its_keeper_is_a_failure() -> None:
    """A power cut leaves no end in the journal; its time goes up to its last sign of life."""
    entries = [
        {"kind": "attempt_started", "attempt": 1, "t": 100.0, "keeper_pid": 4},
        {"kind": "attempt_ended", "attempt": 1, "t": 160.0, "seconds": 60.0, "cause": "preempted"},
        {"kind": "attempt_started", "attempt": 2, "t": 200.0, "keeper_pid": 5},
        {"kind": "epoch_ended", "attempt": 2, "stage": 0, "t": 300.0},
        {"kind": "attempt_changed", "attempt": 2, "t": 9000.0, "cause": "lost"},
        {"kind": "attempt_started", "attempt": 3, "t": 9001.0, "keeper_pid": 6},
    ]
    past = RunHistory.of(entries, 3, Beat(340.0, 2, "step", 0, 7))
    assert (past.failures, past.seconds) == (1, 60.0 + 140.0)
    assert past.between == (PRIOR + 200.0) / 2
    entries[1]["killed_after_grace"] = True
    assert RunHistory.of(entries, 3, None).failures == 2, "it did not save in time"


@pytest.mark.parametrize(("reached", "seconds"), [(55, 5.0), (70, 45.0)])
def test_steps_up_to_the_checkpoint_that_was_passed_over_are_repeated_once(
    tmp_path: Path, reached: int, seconds: float
) -> None:
    """An attempt that began before it, and was killed before it, has trained nothing after it."""
    at = Position(0, 0, 60)
    (made,) = commit(tmp_path, at, taken=155.0)
    newer = {"checkpoint": at.name, "step": 60, "compare": 8}
    entries = [
        receipt(1, 0, 0, 100.0),
        {"kind": "epoch_ended", "attempt": 1, "t": 160.0},
        {"kind": "attempt_ended", "attempt": 1, "t": 161.0, "at_step": 65, "seconds": 60.0},
        receipt(2, 0, 40, 200.0, "e0000-s00000040") | {"instead_of": newer},
    ]
    past = RunHistory.of(entries, 3, Beat(240.0, 2, "step", 0, reached))
    assert past.repeated(0, 60, made, [made])[1] == seconds
    assert past.passed_over == {at.name}

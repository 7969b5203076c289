"""The best checkpoint is kept, whatever happens to later saves and attempts."""

from pathlib import Path

import numpy as np
import pytest

from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.saving.checkpoint_store import Snapshot
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Position


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path)
    made.checkpoints.mkdir()
    return made


def session(run: Run, attempt: int, non_finite: str = "hold") -> Session:
    policy = CheckpointPolicy(every_epochs=1, keep=1, monitor="loss", non_finite=non_finite)
    return Session(
        run, Job(name="a", id="a-1", workdir="/", script="/x.py", checkpoint=policy), attempt
    )


def begin(session: Session) -> int:
    """Enter the next stage, restore or begin it, and return its number."""
    stage = session.stages.enter(lambda: None)
    point = session.store.restore_point(stage, read)
    at = point.checkpoint.position if point.checkpoint else None
    if at is not None and at.end:
        session.stage_restored(stage, point)
    else:
        step = at.step if at else session.progress.step
        progress = Progress(stage, at.epoch if at else 0, step)
        session.resumed(point, progress, restored=[], inexact=[])
    return stage


def epoch(session: Session, stage: int, number: int, loss: float, *, finite: bool = True) -> bool:
    """Report and save the end of an epoch, as a stage does."""
    session.advance(Progress(stage, number + 1, session.progress.step + 10))
    best = session.epoch_ended(stage, number, 0.1, {"loss": loss})
    judge = lambda _: ({}, finite)  # noqa: E731
    saved = session.saves.save(
        Snapshot(session.progress.position, {"model/0": np.zeros(3)}, {}, {"loss": loss}, judge),
        "epoch",
        best=best,
        policy=SavePolicy(session.job.checkpoint),
    )
    return saved and session.saves.settle()


def end(session: Session, stage: int, epochs: int) -> None:
    at = Position(stage, epochs, session.progress.step, True)
    policy = SavePolicy(session.job.checkpoint)
    session.saves.save(Snapshot(at, {}, {}, {}), "end", policy=policy)
    session.stage_ended(stage, epochs)
    session.leave_stage()


def read(state: Path) -> "tuple[Tensors, dict[str, object]]":
    return {}, {}


def names(run: Run) -> list[str]:
    return [checkpoint.name for checkpoint in checkpoints.scan(run.checkpoints)]


def test_a_failed_save_does_not_replace_the_best_checkpoint(run: Run) -> None:
    """As on a full disk: the best checkpoint that exists remains the best."""
    now = session(run, 1)
    stage = begin(now)
    assert epoch(now, stage, 0, 0.5)
    aside = run.checkpoints.rename(run.root / "aside")
    run.checkpoints.write_text("a file in place of the folder: saves fail")
    assert not epoch(now, stage, 1, 0.3)
    run.checkpoints.unlink()
    aside.rename(run.checkpoints)
    assert epoch(now, stage, 2, 0.6)
    assert names(run) == ["e0003-s00000030", "e0001-s00000010"]
    # better than the best that exists, though not than the one that failed
    assert epoch(now, stage, 3, 0.4)
    assert epoch(now, stage, 4, 0.7)
    assert names(run) == ["e0005-s00000050", "e0004-s00000040"]
    manifest = checkpoints.scan(run.checkpoints)[0].read_manifest()
    assert manifest["monitor"] == {"name": "loss", "best": 0.4, "best_name": "e0004-s00000040"}


def test_the_best_of_a_stage_survives_a_kill_after_its_end(run: Run) -> None:
    """The next attempt restores it with the result of that stage."""
    first = session(run, 1)
    stage = begin(first)
    for number, loss in enumerate([0.5, 0.2, 0.4]):
        epoch(first, stage, number, loss)
    end(first, stage, 3)
    second = session(run, 2)
    assert begin(second) == 0
    second.leave_stage()
    stage = begin(second)
    for number, loss in enumerate([0.9, 0.8, 0.7]):
        epoch(second, stage, number, loss)
    assert names(run) == ["e0003-s00000060-f1", "e0003-s00000030-end", "e0002-s00000020"]
    manifest = checkpoints.scan(run.checkpoints)[0].read_manifest()
    assert manifest["monitor"]["best_name"] == "e0002-s00000020"


def test_a_model_that_is_not_finite_is_never_the_best(run: Run) -> None:
    """Whatever its metric: it can be neither resumed from nor exported."""
    now = session(run, 1, non_finite="continue")
    stage = begin(now)
    epoch(now, stage, 0, 0.5)
    epoch(now, stage, 1, 0.3, finite=False)
    epoch(now, stage, 2, 0.6)
    assert names(run) == ["e0003-s00000030", "e0001-s00000010"]

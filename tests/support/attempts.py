"""One attempt of a script without Keras: a session, stages that write files, checkpoints."""

from pathlib import Path

import numpy as np

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.files.stage_files import StageFiles
from rekindle.jobs.files.written import WRITTEN
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.jobs.saving.checkpoint_store import Snapshot
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.state.paths import Run
from rekindle.state.run import journal
from rekindle.state.run.checkpoints import Position
from rekindle.state.run.training_state import TrainingState


class Script:
    """One attempt of a script: its session, and what it saves."""

    def __init__(self, root: Path, attempt: int, limit: int = 10**6) -> None:
        self.run, self.work = Run(root / "run"), root / "work"
        for folder in (self.run.root, self.run.checkpoints, self.work):
            folder.mkdir(exist_ok=True)
        job = Job(
            name="a",
            id="a-1",
            workdir=str(self.work),
            script="/x.py",
            checkpoint=CheckpointPolicy(keep_files=limit),
        )
        journal.append(
            self.run.journal, "attempt_started", attempt=attempt, trainer_pid=1, python="", argv=[]
        )
        self.session = Session(self.run, job, attempt)
        WRITTEN.install()

    def stage(self) -> StageFiles:
        files = StageFiles(self.session, self.session.stages.enter(lambda: None))
        files.begin()
        return files

    def save(self, files: StageFiles, at: Position) -> TrainingState:
        state = files.capture({})
        snapshot = Snapshot(at, {"model/0": np.zeros(3)}, state, {})
        assert self.session.saves.save(
            snapshot, "end", policy=SavePolicy(self.session.job.checkpoint)
        )
        if at.end:
            self.session.leave_stage()
        return state

    def said(self) -> list[str]:
        found = journal.replay(self.run.journal).entries
        return [entry["message"] for entry in found if entry["kind"] == "warned"]

    def ended(self) -> None:
        """Journal the end of the attempt, as the keeper does."""
        journal.append(
            self.run.journal,
            "attempt_ended",
            attempt=self.session.attempt,
            exit_code=None,
            signal=9,
            cause="crash",
            stop_requested=False,
            seconds=1.0,
        )

    def scratch(self) -> None:
        """Journal that a person has asked for a start from scratch."""
        journal.append(self.run.journal, "scratch_requested")

    def shift(self, seconds: float) -> None:
        """Change the times of all entries so far."""
        found = journal.replay(self.run.journal).entries
        lines = [journal.encode({**entry, "t": entry["t"] + seconds}) for entry in found]
        self.run.journal.write_bytes(b"".join(lines))

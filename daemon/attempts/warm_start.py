"""Copy the checkpoint that ``warm_start`` names into the run directory, once.

This happens before the first attempt. From then on the run does not depend on the other job,
whose checkpoints may be pruned. The tick loop, which owns the ledger, chooses the job; gigabytes
are verified and copied in the background.
"""

import os
import shutil
from dataclasses import dataclass
from typing import Final

from rekindle.daemon import checkpoint_choice
from rekindle.jobs.job import Job
from rekindle.state import durable
from rekindle.state.errors import NotFound
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home, Run
from rekindle.state.run.checkpoints import Checkpoint

_SETTLED: Final = TERMINAL | {JobState.HELD}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Describe why the weights are missing: the job waits, or is held for a person."""

    reason: str
    hint: str
    wait: bool


@dataclass(frozen=True, slots=True)
class Fetch:
    """Verify a checkpoint of another job and copy it into a run; touches folders only.

    Attributes:
        source: the id of the other job.
        asked: the spec's ``warm_start``.
    """

    source: str
    asked: str
    of: Run
    to: Run

    def carry_out(self) -> Obstacle | None:
        """Copy the checkpoint; None if it succeeded."""
        try:
            chosen = _choose(self.of, self.asked.partition(":")[2])
            _take(
                chosen,
                self.to,
                {"job": self.source, "checkpoint": chosen.name, "asked": self.asked},
            )
        except NotFound as error:
            return Obstacle(
                f"The weights that it starts with are missing: {error.what}",
                f"{error.hint} Then `rekindle release {self.to.id}` resumes it.",
                wait=False,
            )
        except OSError as error:
            return Obstacle(
                f"The weights of {self.source} could not be copied: {error.strerror}.",
                "",
                wait=True,
            )
        return None


def wanted(home: Home, ledger: Ledger, job: Job) -> Fetch | Obstacle | None:
    """Find what to copy for ``job.warm_start``, or what prevents it; None if nothing is needed."""
    run = home.run(job.id)
    if job.warm_start is None or run.warm_start.exists():
        return None
    named = job.warm_start.partition(":")[0]
    source = _find(ledger, named, job.id)
    if source is None:
        return Obstacle(
            f"There is no job {named}, whose weights it would start with.",
            "Submit it again with another `warm_start`; `rekindle ls` lists all jobs.",
            wait=False,
        )
    if source.state not in _SETTLED:
        return Obstacle(f"It waits for {source.id}, whose weights it starts with.", "", wait=True)
    return Fetch(source.id, job.warm_start, home.run(source.id), run)


def _find(ledger: Ledger, named: str, me: str) -> JobRow | None:
    """Find the job with this id, or the newest other job with this name."""
    found = ledger.job(named)
    if found is not None and found.id != me:
        return found
    return next((row for row in ledger.jobs_named(named) if row.id != me), None)


def _choose(run: Run, which: str) -> Checkpoint:
    """Choose the checkpoint that ``which`` names; by default the best, else the last.

    Raises:
        NotFound: the job has no good checkpoint.
    """
    if which == "last":
        return checkpoint_choice.last(run)
    if which == "best":
        return checkpoint_choice.best(run)
    if which:
        return checkpoint_choice.after_epoch(run, int(which))
    newest = checkpoint_choice.last(run)  # verified once: that reads the whole checkpoint
    has_best = (newest.read_manifest().get("monitor") or {}).get("best_name")
    return checkpoint_choice.best(run) if has_best else newest


def _take(chosen: Checkpoint, run: Run, source: dict[str, str]) -> None:
    """Link the files, or copy them where links are impossible; commit them with one rename."""
    new = run.root / f".new-{run.warm_start.name}"
    shutil.rmtree(new, ignore_errors=True)
    folder = new / chosen.name
    folder.mkdir(parents=True)
    for file in chosen.path.iterdir():
        try:
            os.link(file, folder / file.name)
        except OSError:
            shutil.copyfile(file, folder / file.name)
            durable.fsync_file(folder / file.name)
    durable.write_json(new / run.warm_start_source.name, source)
    durable.fsync_folder(folder)
    os.rename(new, run.warm_start)
    durable.fsync_folder(run.root)

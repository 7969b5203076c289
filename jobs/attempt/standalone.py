"""Session without a daemon: a script run by hand keeps its checkpoints in a folder.

The folder has the layout of a run directory, so that everything that reads one can read it.
"""

import atexit
import os
import sys
from pathlib import Path
from typing import Any

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.state import lock
from rekindle.state.errors import HomeUnusable, LockHeld
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, journal, summary

_open: dict[Path, Session] = {}


def default_folder() -> Path:
    """Return ``train.rekindle`` beside ``train.py``; without a file, in the working directory."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    if script.is_file():
        return script.absolute().with_suffix(".rekindle")
    return Path.cwd() / "loop.rekindle"


def session(folder: Path, policy: CheckpointPolicy, seed: int) -> Session:
    """Return the session of ``folder`` in this process; the first call makes and locks it.

    Raises:
        LockHeld: another process trains in the folder.
        HomeUnusable: the folder cannot be created or written.
    """
    folder = folder.absolute()
    if folder in _open:
        return _open[folder]
    run = Run(folder)
    try:
        for part in (run.root, run.checkpoints):
            part.mkdir(parents=True, exist_ok=True)
        _lock(run)
        checkpoints.sweep(run.checkpoints)
        attempt = 1 + max(
            (entry.get("attempt") or 0 for entry in summary.read(run).entries), default=0
        )
        job = Job(
            name=folder.stem,
            id=folder.name,
            workdir=os.getcwd(),
            script=sys.argv[0],
            seed=seed,
            checkpoint=policy,
        )
        opened = Session(run, job, attempt)
        journal.append(
            run.journal,
            "attempt_started",
            attempt=attempt,
            trainer_pid=os.getpid(),
            python=sys.executable,
            argv=sys.argv,
        )
    except OSError as error:
        raise HomeUnusable(
            f"The folder cannot be used: {error.strerror}.",
            where=folder,
            hint="Give another one: resumable(folder=...).",
        ) from error
    _open[folder] = opened
    # commits the end of a last loop that the script left by `break`
    atexit.register(opened.stages.settle)
    return opened


def _lock(run: Run) -> None:
    """Lock the folder for the life of the process; the kernel releases it however that ends."""
    if lock.take(run.lock) is None:
        raise LockHeld(
            "Another process trains in this folder.",
            where=run.root,
            hint="Wait for it to end, or give another one: resumable(folder=...).",
        )


def policy_of(
    every: str | int | None, keep: int, monitor: str | None, mode: str
) -> CheckpointPolicy:
    """Build the checkpoint policy from arguments of ``resumable``.

    Raises:
        ValueError: ``every`` is invalid.
    """
    return CheckpointPolicy(keep=keep, monitor=monitor, mode=mode, **cadence_of(every))


def cadence_of(every: str | int | None) -> dict[str, Any]:
    """Parse ``"500 steps"``, 500, ``"epoch"``, ``"10 min"`` or ``"auto"`` into policy fields.

    Raises:
        ValueError: ``every`` is none of them.
    """
    from rekindle.jobs import quantities

    if every is None or every == "auto":
        return {}
    if isinstance(every, int):
        if every < 1:
            raise ValueError("every must be at least 1 step")
        return {"every_steps": every}
    number, _, unit = every.strip().partition(" ")
    if every == "epoch":
        return {"every_epochs": 1}
    if number.isdigit() and int(number) and unit.strip() in ("step", "steps", "epoch", "epochs"):
        return {f"every_{unit.strip().rstrip('s')}s": int(number)}
    return {"every_seconds": quantities.seconds(every)}

"""A session without a daemon: the script is run by hand, and keeps its checkpoints in a folder.

The folder is laid out as a run directory, so that all that reads one can read it.
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
from rekindle.state.run import checkpoints, journal

_open: dict[Path, Session] = {}


def default_folder() -> Path:
    """``train.rekindle`` beside ``train.py``; in the working directory where there is no file."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    if script.is_file():
        return script.absolute().with_suffix(".rekindle")
    return Path.cwd() / "loop.rekindle"


def session(folder: Path, policy: CheckpointPolicy, seed: int) -> Session:
    """The session of ``folder`` in this process; made and locked at the first call.

    Raises:
        LockHeld: another process trains in the folder.
        HomeUnusable: the folder cannot be made or written.
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
            (entry.get("attempt") or 0 for entry in journal.replay(run.journal).entries), default=0
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
    # a loop that the script left by `break`, and nothing came after it
    atexit.register(opened.stages.settle)
    return opened


def _lock(run: Run) -> None:
    """For as long as the process lives; the system lets go of it whatever ends the process."""
    if lock.take(run.lock) is None:
        raise LockHeld(
            "Another process trains in this folder.",
            where=run.root,
            hint="Wait for it to end, or give another one: resumable(folder=...).",
        )


def policy_of(
    every: str | int | None, keep: int, monitor: str | None, mode: str
) -> CheckpointPolicy:
    """
    Raises:
        ValueError: ``every`` is not understood.
    """
    return CheckpointPolicy(keep=keep, monitor=monitor, mode=mode, **cadence_of(every))


def cadence_of(every: str | int | None) -> dict[str, Any]:
    """``"500 steps"``, 500, ``"epoch"``, ``"10 min"`` or ``"auto"`` as fields of a policy.

    Raises:
        ValueError: it is none of them.
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

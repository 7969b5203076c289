"""Spawn the trainer: its command line, its environment, and what it does before it is one."""

import os
import signal
import subprocess
import sys
from typing import Final

from rekindle.jobs import bootstrap, environment, process
from rekindle.jobs.job import Job
from rekindle.jobs.keeper.command import RestorePoint
from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.state.paths import Run

SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
"""Blocked in the keeper, which waits for them."""


def spawn(
    argv: list[str],
    variables: dict[str, str],
    workdir: str,
    lock: tuple[int, ...],
    limit: MemoryLimit,
) -> "subprocess.Popen[bytes]":
    """Start the trainer in a session of its own.

    Args:
        lock: descriptors of the run's lock, which lives as long as anything that may still
            write the run directory.
    """
    keeper = os.getpid()

    def enter() -> None:
        # safe here: the keeper has a single thread
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        process.die_with_parent(keeper)
        process.go_before_others_when_memory_ends()
        limit.enter()

    return subprocess.Popen(
        argv,
        cwd=workdir,
        env=variables,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=enter,
        pass_fds=lock,
    )


def command_line(job: Job, run: Run, attempt: int) -> list[str]:
    """Give the job's command, or that of our trainer for its script."""
    if job.command is not None:
        return list(job.command)
    return bootstrap.command(
        job.python or sys.executable, "rekindle.jobs.trainer.main", str(run.root), str(attempt)
    )


def variables(
    job: Job, run: Run, attempt: int, restore_point: RestorePoint | None
) -> dict[str, str]:
    """Give the environment of an attempt's trainer."""
    env = {k: v for k, v in os.environ.items() if k not in environment.NOT_INHERITED}
    env.setdefault("PYTHONUNBUFFERED", "1")
    # sets of strings iterate in an order that depends on it
    env.setdefault("PYTHONHASHSEED", str(job.seed % 2**32))
    env.update(job.env)
    env[environment.RUN_DIR] = str(run.root)
    env[environment.JOB] = run.id
    env[environment.ATTEMPT] = str(attempt)
    env[environment.HEARTBEAT] = str(run.heartbeat)
    gpus = env.get(environment.GPUS)
    if gpus:
        # whatever else the environment says: these, and no others, are this attempt's
        env["CUDA_VISIBLE_DEVICES"] = gpus
    elif gpus is not None and "CUDA_VISIBLE_DEVICES" not in job.env:
        # TensorFlow would take the memory of all it sees, from jobs that were given them
        env["CUDA_VISIBLE_DEVICES"] = "-1"
    if restore_point is not None:
        env.update(restore_point.variables())
    if job.command is not None and run.warm_start.exists():
        env[environment.WARM_START] = str(run.warm_start)
    return env


def gpus() -> list[str] | None:
    """List the GPUs that the daemon gave this attempt, None on a host without."""
    given = os.environ.get(environment.GPUS)
    return None if given is None else [uuid for uuid in given.split(",") if uuid]

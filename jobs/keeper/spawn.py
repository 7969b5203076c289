"""Spawn the trainer: command line, environment, and setup of the child before exec."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from rekindle.jobs import bootstrap, environment, process
from rekindle.jobs.job import Job
from rekindle.jobs.keeper.command import RestorePoint
from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.state.paths import Run

SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
"""Signals that the keeper blocks and waits for."""


def spawn(
    argv: list[str],
    variables: dict[str, str],
    workdir: str,
    inherited: tuple[int, ...],
    limit: MemoryLimit,
    umask: int | None,
    *,
    stdin: int = subprocess.DEVNULL,
    output: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start the trainer in a session of its own.

    Args:
        umask: None for the keeper's own.
        inherited: descriptors: of the run's lock, so that it is held as long as any process may
            write the run directory, and of the socket to the keeper.
        stdin, output: of a spare; the output of a trainer is the log of its keeper.
    """
    keeper = os.getpid()

    def enter() -> None:
        # safe here: the keeper has a single thread
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        process.die_with_parent(keeper)
        process.drop_oom_protection()
        limit.enter()

    return subprocess.Popen(
        argv,
        cwd=workdir,
        env=variables,
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=True,
        umask=-1 if umask is None else umask,
        preexec_fn=enter,
        pass_fds=inherited,
    )


def command_line(job: Job, run: Run, attempt: int, keeper: int | None) -> list[str]:
    """Build the command line: the job's command, or the trainer for its script.

    Args:
        keeper: descriptor of the trainer's socket to its keeper; None for a command.
    """
    if job.command is not None:
        return list(job.command)
    return bootstrap.command(
        job.python or sys.executable,
        "rekindle.jobs.trainer.main",
        str(run.root),
        str(attempt),
        str(keeper),
    )


def variables(
    job: Job,
    run: Run,
    attempt: int,
    restore_point: RestorePoint | None,
    inherited: Mapping[str, str] = os.environ,
    *,
    began: float | None = None,
) -> dict[str, str]:
    """Build the environment of an attempt's trainer.

    Args:
        inherited: the environment of the keeper.
        began: when the attempt began, in monotonic seconds.
    """
    env = {k: v for k, v in inherited.items() if k not in environment.NOT_INHERITED}
    env.setdefault("PYTHONUNBUFFERED", "1")
    # the iteration order of sets of strings depends on it
    env.setdefault("PYTHONHASHSEED", str(job.seed % 2**32))
    env.update(job.env)
    env[environment.RUN_DIR] = str(run.root)
    env[environment.JOB] = run.id
    env[environment.ATTEMPT] = str(attempt)
    env[environment.HEARTBEAT] = str(run.heartbeat)
    if began is not None:
        env[environment.BEGAN] = f"{began:.3f}"
    gpus = env.get(environment.GPUS)
    if gpus:
        # overrides the inherited value: the attempt may use only its own GPUs
        env["CUDA_VISIBLE_DEVICES"] = gpus
    elif gpus is not None and "CUDA_VISIBLE_DEVICES" not in job.env:
        # TensorFlow would allocate the memory of all visible GPUs, which belong to other jobs
        env["CUDA_VISIBLE_DEVICES"] = "-1"
    if restore_point is not None:
        env.update(restore_point.variables())
    if job.command is not None and run.warm_start.exists():
        env[environment.WARM_START] = str(run.warm_start)
    return env


def umask(job: Job) -> int | None:
    """Return the umask for an attempt; None where neither spec nor `rekindle.toml` has one."""
    host = os.environ.get(environment.UMASK, "")
    return int(host, 8) if job.umask is None and host else job.umask


def gpus() -> list[str] | None:
    """List the GPUs that the daemon gave this attempt; None on a host without GPUs."""
    given = os.environ.get(environment.GPUS)
    return None if given is None else [uuid for uuid in given.split(",") if uuid]

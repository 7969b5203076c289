"""Try the interpreter of each waiting job as an attempt would start it.

Jobs with an equal interpreter, environment, folder and script folder share one try.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.checks import interpreter_findings, script_text
from rekindle.daemon.checks.finding import WARNING, Finding, Waiting, named
from rekindle.daemon.checks.interpreter_findings import CHECK, Result
from rekindle.daemon.keeper_environment import environment_of_keeper
from rekindle.jobs import bootstrap, environment, provenance
from rekindle.jobs.job import Job
from rekindle.jobs.keeper import spawn
from rekindle.state.paths import Home

AT_ONCE: Final = 2
"""Interpreters tried at once: each imports TensorFlow, and trainings may run beside."""
_EACH_S: Final = 180.0
_LEAST_S: Final = 0.5
_KILL_S: Final = 5.0
_TAIL: Final = 4000


@dataclass(frozen=True, slots=True)
class Limits:
    """Bound the tries, in seconds: each of them, and all together."""

    each: float
    total: float

    @classmethod
    def within(cls, seconds: float) -> "Limits":
        """Divide a time: a slow network disk takes a minute for one import of TensorFlow."""
        return cls(min(seconds, _EACH_S), seconds)


@dataclass(frozen=True, slots=True)
class Trial:
    """Describe one start of an interpreter.

    Attributes:
        folder: what the script finds first on ``sys.path``.
        variables: its whole environment.
        gpus: how many GPUs the spec asks for; -1 if none must be visible.
    """

    python: str
    workdir: str
    folder: str
    variables: tuple[tuple[str, str], ...]
    gpus: int


Report = Callable[[str], None]


def check(
    home: Home, waiting: Sequence[Waiting], limits: Limits, report: Report
) -> Iterator[Finding]:
    """Try all interpreters and yield a finding for each, and more where something is wrong.

    Args:
        report: called with a sentence whenever a try begins or ends.
    """
    groups = grouped(home, waiting)
    for trial, result in _run_all([*groups], limits, report):
        jobs = groups[trial]
        if result is None:
            yield Finding(
                WARNING,
                CHECK,
                f"{trial.python} was not tried within {limits.total:.0f} s "
                f"({named(jobs)} needs it).",
                "Give the check more time: `rekindle doctor --timeout 10min`.",
            )
            continue
        yield from interpreter_findings.judge(trial.python, trial.folder, result, jobs)


def grouped(home: Home, waiting: Iterable[Waiting]) -> dict[Trial, list[Waiting]]:
    """Group the jobs that need the same try; commands and jobs without a workdir need none."""
    groups: dict[Trial, list[Waiting]] = {}
    count = len(provenance.machine()["gpus"])
    for one in waiting:
        # a workdir that cannot be entered has a finding of its own
        if one.job.command is None and os.path.isdir(one.job.workdir):
            groups.setdefault(_trial(home, one, count), []).append(one)
    return groups


def _trial(home: Home, one: Waiting, gpus: int) -> Trial:
    job = one.job
    env = spawn.variables(job, home.run(one.name), 1, None, environment_of_keeper(_gpus(job, gpus)))
    backend = script_text.of(job).backend
    if backend is not None:
        env["KERAS_BACKEND"] = backend
    # its marks would make it a process of the job; the hash seed differs without a reason
    for name in (*environment.OF_A_JOB, "PYTHONHASHSEED"):
        if name not in job.env:
            env.pop(name, None)
    return Trial(
        python=job.python or sys.executable,
        workdir=job.workdir,
        folder=job.workdir if job.script is None else os.path.dirname(os.path.realpath(job.script)),
        variables=tuple(sorted(env.items())),
        gpus=(job.resources.gpus or 0) if job.resources.needs_gpu else -1,
    )


def _gpus(job: Job, count: int) -> list[str] | None:
    """Choose what an attempt may see: all GPUs of this daemon, or none; None without GPUs."""
    if not count:
        return None
    if not job.resources.needs_gpu:
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(n) for n in range(count)] if visible is None else visible.split(",")


def _run_all(
    trials: Sequence[Trial], limits: Limits, report: Report
) -> Iterator[tuple[Trial, Result | None]]:
    """Run the tries, a few at once; yield each with its result, None if the time was over."""
    todo: queue.SimpleQueue[Trial] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Trial, Result | None]] = queue.SimpleQueue()
    end = time.monotonic() + limits.total
    for trial in trials:
        todo.put(trial)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                trial = todo.get_nowait()
                left = min(limits.each, end - time.monotonic())
                done.put((trial, run(trial, left) if left >= _LEAST_S else None))

    for _ in range(min(AT_ONCE, len(trials))):
        threading.Thread(target=work, name="interpreter", daemon=True).start()
    for count in range(len(trials)):
        report(f"{CHECK} {count + 1} of {len(trials)}")
        yield done.get()


def run(trial: Trial, limit: float) -> Result:
    """Start an interpreter, import Keras in it, and return what it found or how it failed."""
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                bootstrap.command(
                    trial.python,
                    "rekindle.jobs.trainer.probe",
                    str(answer.fileno()),
                    trial.folder,
                    str(trial.gpus),
                ),
                cwd=trial.workdir,
                env=dict(trial.variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(answer.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            return Result(problem=_cannot_start(trial, error))
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            return Result(timeout=limit, log=_text(log))
        answer.seek(0)
        found: dict[str, Any] | None = None
        with contextlib.suppress(ValueError):
            found = json.loads(answer.read())
        return Result(found=found, code=code, log=_text(log))


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_S)


def _text(log: Any) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(log.tell() - _TAIL, 0))
    text: str = log.read().decode("utf-8", "replace")
    return text


def _cannot_start(trial: Trial, error: OSError) -> str:
    """Say why a program cannot be started, with the cause where the file system shows it."""
    python = Path(trial.python)
    if not os.access(trial.workdir, os.X_OK):
        return f"the workdir {trial.workdir} cannot be entered"
    if os.path.islink(python) and not os.path.exists(python):
        return f"it is a link to {os.path.realpath(python)}, which does not exist"
    if not os.path.lexists(python):
        return "it does not exist"
    if os.path.isdir(python):
        return "it is a folder"
    if not os.access(python, os.X_OK):
        return "it is not executable for this user"
    return error.strerror or str(error)

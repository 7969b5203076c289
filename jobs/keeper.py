"""The keeper: the small parent process of one attempt, from lock to exit status.

It outlives the daemon, holds the run's lock, forwards SIGTERM, enforces the grace period,
ends whatever the trainer left behind, and writes how the attempt ended into the journal.
Standard library only: it runs with ``-I -S``.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from rekindle.jobs import bootstrap, environment, process
from rekindle.jobs.job import Job
from rekindle.state import checkpoints, journal
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


def main() -> NoReturn:
    """``keeper RUN_DIR ATTEMPT LOCK_FD``: runs one attempt and exits 0 once it is recorded."""
    run, attempt, lock = Run(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    run.logs.mkdir(exist_ok=True)
    log = os.open(run.log(attempt), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    os.dup2(log, 1)
    os.dup2(log, 2)
    process.become_subreaper()
    Attempt(run, attempt, lock).run_to_end()
    sys.exit(0)


class Attempt:
    """One start of the job's training process, seen from its parent."""

    def __init__(self, run: Run, number: int, lock: int) -> None:
        self.run = run
        self.number = number
        self.lock = lock
        self.stop_requested = False
        self.deadline: float | None = None
        self.killed = False

    def run_to_end(self) -> None:
        """Starts the trainer, waits for it, and records its end."""
        began = time.monotonic()
        try:
            job = Job.from_json(self.run.job_file.read_text())
            checkpoints.sweep(self.run.checkpoints)
            trainer = self._start(job)
        except (OSError, RekindleError, ValueError) as error:
            print(f"rekindle: the attempt could not start: {error}", flush=True)
            self._record("failed", error_type=type(error).__name__, message=str(error),
                         traceback="", epoch=0, step=0)
            # a missing interpreter or folder may be a mount that comes back: worth a retry
            cause = "crash" if isinstance(error, OSError) else "permanent"
            self._record("attempt_ended", exit_code=None, signal=None, cause=cause,
                         stop_requested=False, seconds=time.monotonic() - began)
            return
        status = self._wait(trainer, job.limits.stop_grace)
        self._end_leftovers(trainer)
        code, signum = (None, -status) if status < 0 else (status, None)
        self._record(
            "attempt_ended",
            exit_code=code,
            signal=signum,
            cause=self._cause(code),
            stop_requested=self.stop_requested,
            killed_after_grace=self.killed,
            seconds=time.monotonic() - began,
        )

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        if job.command is not None:
            argv = list(job.command)
        else:
            argv = bootstrap.command(
                job.python or sys.executable,
                "rekindle.jobs.trainer",
                str(self.run.root),
                str(self.number),
            )
        parent = os.getpid()

        def enter() -> None:
            # safe here: the keeper has a single thread
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            process.die_with_parent(parent)

        trainer = subprocess.Popen(
            argv,
            cwd=job.workdir,
            env=self._environment(job),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=enter,
            # the lock lives as long as anything that may still write the run directory
            pass_fds=(self.lock,),
        )
        me = process.Identity.of(parent)
        child = process.Identity.of(trainer.pid)
        self._record(
            "attempt_started",
            keeper_pid=parent,
            keeper_start=me.start if me else None,
            trainer_pid=trainer.pid,
            trainer_start=child.start if child else None,
            boot_id=process.boot_id(),
            python=job.python or sys.executable,
            argv=argv if job.command is not None else [job.script or job.module or "", *job.args],
        )
        return trainer

    def _environment(self, job: Job) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if k not in environment.NOT_INHERITED}
        env.setdefault("PYTHONUNBUFFERED", "1")
        # sets of strings iterate in an order that depends on it
        env.setdefault("PYTHONHASHSEED", str(job.seed % 2**32))
        env.update(job.env)
        env[environment.RUN_DIR] = str(self.run.root)
        env[environment.JOB] = self.run.id
        env[environment.ATTEMPT] = str(self.number)
        env[environment.HEARTBEAT] = str(self.run.heartbeat)
        if job.command is not None:
            newest = next(iter(checkpoints.scan(self.run.checkpoints)), None)
            env[environment.INITIAL_EPOCH] = str(newest.position.epoch if newest else 0)
            env[environment.CHECKPOINT] = str(newest.path) if newest else ""
        return env

    def _wait(self, trainer: subprocess.Popen[bytes], grace: float) -> int:
        """Reaps until the trainer has ended; returns its status as Popen gives it."""
        while True:
            status = self._reap(trainer.pid)
            if status is not None:
                return status
            if self.deadline is None:
                received = signal.sigwaitinfo(_SIGNALS)
            else:
                left = max(self.deadline - time.monotonic(), 0.0)
                timed = signal.sigtimedwait(_SIGNALS, left)
                if timed is None:
                    print("rekindle: the grace period is over; the trainer is killed.", flush=True)
                    self.killed = True
                    self.deadline = None
                    os.killpg(trainer.pid, signal.SIGKILL)
                    continue
                received = timed
            if received.si_signo in (signal.SIGTERM, signal.SIGINT) and not self.stop_requested:
                self.stop_requested = True
                self.deadline = time.monotonic() + grace
                os.kill(trainer.pid, signal.SIGTERM)

    def _reap(self, trainer: int) -> int | None:
        ended = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            if pid == trainer:
                ended = os.waitstatus_to_exitcode(status)

    def _end_leftovers(self, trainer: subprocess.Popen[bytes]) -> None:
        """Ends what the trainer started and left: data workers, TensorBoard, shells."""
        try:
            os.killpg(trainer.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        end = time.monotonic() + 10
        while (left := process.children(os.getpid())) and time.monotonic() < end:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self._reap(trainer.pid)
            time.sleep(0.01)

    def _cause(self, code: int | None) -> str:
        if code == environment.EXIT_DONE:
            return "done"
        if code == environment.EXIT_SAVED:
            return "preempted"
        # asked to end before it could listen, or after its grace: the checkpoints count
        if self.stop_requested and code is None:
            return "preempted"
        if code == environment.EXIT_PERMANENT:
            return "permanent"
        return "crash"

    def _record(self, kind: str, **fields: object) -> None:
        """Appends to the journal, waiting while the disk is full: an end must not get lost."""
        while True:
            try:
                journal.append(self.run.journal, kind, attempt=self.number, **fields)
                return
            except OSError as error:
                print(f"rekindle: the journal cannot be written: {error}", flush=True)
                # asked to end while waiting: the daemon then infers the end from the lock
                if signal.sigtimedwait({signal.SIGTERM}, 1.0) is not None:
                    return

"""The keeper: the small parent process of one attempt, from lock to exit status.

It outlives the daemon, holds the run's lock, forwards SIGTERM, enforces the grace period and
the memory limit, ends a trainer that hangs, ends whatever the trainer left behind, and
writes how the attempt ended into the journal. Standard library only: it runs with ``-I -S``.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from rekindle.jobs import bootstrap, environment, heartbeat, process, provenance, stack_dump
from rekindle.jobs.job import Job
from rekindle.jobs.journal_writer import Record, say
from rekindle.jobs.keeper import command, follow_watch, log_cap, memory_limit
from rekindle.jobs.keeper.follow_watch import FollowWatch
from rekindle.jobs.keeper.hang_detector import LOOK_S, HangDetector, seen_before
from rekindle.state import crash_points
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries, journal, reading, reserve

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
_DUMP_S = 0.5
"""A dump of all stacks is written in C and takes milliseconds."""
_COMES_BACK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.ESTALE}
"""Errors of a disk that may be over in a while."""


def main() -> NoReturn:
    """``keeper RUN_DIR ATTEMPT LOCK_FD...``: runs one attempt and exits 0 once it is recorded."""
    run, attempt = Run(Path(sys.argv[1])), int(sys.argv[2])
    lock = tuple(int(fd) for fd in sys.argv[3:])
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    crash_points.reached("keeper_entered")
    # made here, not at acceptance: of ten thousand jobs waiting few have come so far
    run.logs.mkdir(exist_ok=True)
    run.checkpoints.mkdir(exist_ok=True)
    log = reading.open_regular(run.log(attempt), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.dup2(log, 1)
    os.dup2(log, 2)
    process.become_subreaper()
    with contextlib.suppress(OSError):
        log_cap.remove_older(run.logs, _number(environment.LOG_KEEP, log_cap.DEFAULT_KEEP))
    Attempt(run, attempt, lock).run_to_end()
    sys.exit(0)


class Attempt:
    """One start of the job's training process, seen from its parent."""

    def __init__(self, run: Run, number: int, lock: tuple[int, ...]) -> None:
        self.run = run
        self.number = number
        self.lock = lock
        self.stop_requested = False
        self.deadline: float | None = None
        self.killed = False
        self.hung = False
        self.over_memory = False
        self.hang_detector = HangDetector(None)
        self.fence = memory_limit.Fence(None)
        self.log_cap = log_cap.LogCap(
            run.log(number), _number(environment.LOG_MAX_BYTES, log_cap.DEFAULT_BYTES)
        )
        self._looks = 0
        self.record = Record(run.journal, number)
        self.restore_point: command.RestorePoint | None = None
        self.follow_watch: FollowWatch | None = None
        self.is_first = True

    def run_to_end(self) -> None:
        """Starts the trainer, waits for it, and records its end."""
        began = time.monotonic()
        try:
            job = Job.read(self.run.job_file)
            checkpoints.sweep(self.run.checkpoints)
            reserve.take_over(self.run.reserve, self.run.journal)
            with contextlib.suppress(OSError):
                # some file systems have no way to; an end then waits for space
                reserve.prepare(self.run.reserve)
            before = journal.replay(self.run.journal).entries
            if job.command is not None:
                self.restore_point = command.restore_point(self.run)
                self.is_first = command.is_first(before)
            self.fence = memory_limit.Fence.build(
                job.resources.memory, f"rekindle-{self.run.id}-{os.getpid()}"
            )
            self.hang_detector = HangDetector(
                job.limits.hang_timeout, speaks=job.command is None, longest=seen_before(before)
            )
            self.hang_detector.look(*self._mark(), time.monotonic())
            self.follow_watch = FollowWatch(
                self.run,
                self.number,
                command=job.command is not None,
                after=_number(environment.UNFOLLOWED_AFTER, int(follow_watch.AFTER_S)),
            )
            if signal.SIGTERM in signal.sigpending():
                # asked to end before it began: nothing has to be started for that
                self.record.add(
                    **entries.attempt_ended(
                        exit_code=None,
                        signal=None,
                        cause="preempted",
                        stop_requested=True,
                        seconds=time.monotonic() - began,
                    )
                )
                self._write_all()
                return
            trainer = self._start(job)
        except (OSError, RekindleError, ValueError) as error:
            say(f"the attempt could not start: {error}")
            self.record.add(
                **entries.failed(
                    error_type=type(error).__name__,
                    message=str(error),
                    traceback="",
                    epoch=0,
                    step=0,
                )
            )
            # a missing interpreter or folder may be a mount that comes back: worth a retry
            cause = "crash" if isinstance(error, OSError) else "permanent"
            self.record.add(
                **entries.attempt_ended(
                    exit_code=None,
                    signal=None,
                    cause=cause,
                    stop_requested=False,
                    seconds=time.monotonic() - began,
                )
            )
            self._write_all()
            return
        if job.resources.memory is not None and not self.fence.enforced:
            self.record.add(
                **entries.warned(
                    message="The kernel does not enforce the memory limit here; "
                    "the keeper looks every second instead.",
                    hint="Run the daemon as a systemd service, or as root.",
                )
            )
        status = self._wait(trainer, job.limits.stop_grace)
        crash_points.reached("trainer_ended")
        self._end_leftovers(trainer)
        self._cap_log()
        crash_points.reached("leftovers_ended")
        if self.restore_point is not None:
            for saved in command.committed(self.run, self.restore_point):
                self.record.add(**saved)
        code, signum = (None, -status) if status < 0 else (status, None)
        killer = self.fence.killed()
        beat = heartbeat.read(self.run.heartbeat)
        at = beat if beat is not None and beat.attempt == self.number else None
        self.record.add(
            **entries.attempt_ended(
                exit_code=code,
                signal=signum,
                cause=self._cause(code, signum, killer),
                stop_requested=self.stop_requested,
                killed_after_grace=self.killed,
                memory_limit=job.resources.memory,
                at_epoch=at.epoch if at else None,
                at_step=at.step if at else None,
                **({} if job.command is not None else {"at_section": at.section if at else None}),
                longest={section: round(s, 3) for section, s in self.hang_detector.longest.items()},
                seconds=time.monotonic() - began,
            )
        )
        self._write_all()
        crash_points.reached("end_recorded")
        self.fence.remove()

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        if job.command is not None:
            argv = list(job.command)
        else:
            argv = bootstrap.command(
                job.python or sys.executable,
                "rekindle.jobs.trainer.main",
                str(self.run.root),
                str(self.number),
            )
        parent = os.getpid()

        def enter() -> None:
            # safe here: the keeper has a single thread
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            process.die_with_parent(parent)
            process.go_before_others_when_memory_ends()
            self.fence.enter()

        trainer = subprocess.Popen(
            argv,
            cwd=job.workdir,
            env=self._environment(job),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=enter,
            # the lock lives as long as anything that may still write the run directory
            pass_fds=self.lock,
        )
        crash_points.reached("trainer_spawned")
        me = process.Identity.of(parent)
        child = process.Identity.of(trainer.pid)
        self.record.add(
            **entries.attempt_started(
                keeper_pid=parent,
                keeper_start=me.start if me else None,
                trainer_pid=trainer.pid,
                trainer_start=child.start if child else None,
                boot_id=process.boot_id(),
                gpus=_gpus(),
                python=job.python or sys.executable,
                argv=argv
                if job.command is not None
                else [job.script or job.module or "", *job.args],
            )
        )
        crash_points.reached("attempt_recorded")
        if job.command is not None:
            # other jobs' trainers tell it, with the packages of their interpreter
            machine, code = provenance.machine(), provenance.code(job)
            before = provenance.previous(self.run, self.number)
            changed = provenance.changes(before, {"machine": machine, "code": code})
            self.record.add(**entries.provenance(changed=changed, machine=machine, code=code))
        if self.restore_point is not None:
            self.record.add(**self.restore_point.receipt(first=self.is_first))
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
        gpus = env.get(environment.GPUS)
        if gpus:
            # whatever else the environment says: these, and no others, are this attempt's
            env["CUDA_VISIBLE_DEVICES"] = gpus
        elif gpus is not None and "CUDA_VISIBLE_DEVICES" not in job.env:
            # TensorFlow would take the memory of all it sees, from jobs that were given them
            env["CUDA_VISIBLE_DEVICES"] = "-1"
        if self.restore_point is not None:
            env.update(self.restore_point.variables())
        if job.command is not None and self.run.warm_start.exists():
            env[environment.WARM_START] = str(self.run.warm_start)
        return env

    def _wait(self, trainer: subprocess.Popen[bytes], grace: float) -> int:
        """Reaps until the trainer has ended; returns its status as Popen gives it."""
        look_at = time.monotonic() + LOOK_S
        while True:
            status = self._reap(trainer.pid)
            if status is not None:
                return status
            now = time.monotonic()
            if self.deadline is not None and now >= self.deadline:
                say("the grace period is over; the trainer is killed.")
                self.killed = True
                self.deadline = None
                os.killpg(trainer.pid, signal.SIGKILL)
                continue
            if now >= look_at:
                look_at = now + LOOK_S
                self._look(trainer, grace, now)
            until = look_at if self.deadline is None else min(look_at, self.deadline)
            received = signal.sigtimedwait(_SIGNALS, max(until - time.monotonic(), 0.0))
            if received is None or received.si_signo == signal.SIGCHLD or self.stop_requested:
                continue
            self.stop_requested = True
            self._ask_to_end(trainer, grace)

    def _look(self, trainer: subprocess.Popen[bytes], grace: float, now: float) -> None:
        """Once a second: does it still move, and does it keep within its memory?"""
        self.record.write()
        self._cap_log()
        self._looks += 1
        if self._looks % 4 == 0:
            self.fence.look()
        mark = self._mark()
        self._look_for_training(trainer.pid, mark[1])
        limit = self.fence.limit
        if limit is not None and not self.fence.enforced and not self.over_memory:
            used = memory_limit.used(process.descendants(trainer.pid))
            if used > limit:
                say(f"it uses {used} bytes of memory of the {limit} it may; it is killed.")
                self.over_memory = True
                os.killpg(trainer.pid, signal.SIGKILL)
        if (
            self.deadline is None
            and not (self.killed or self.hung or self.stop_requested)
            and (self.hang_detector.look(*mark, now))
        ):
            self._end_hung(trainer, grace)

    def _look_for_training(self, trainer: int, section: str | None) -> None:
        found = self.follow_watch and self.follow_watch.look(trainer, section)
        if found:
            message, hint = found
            say(f"{message} {hint}")
            self.record.add(**entries.warned(message=message, hint=hint, unfollowed=True))

    def _cap_log(self) -> None:
        # a log that cannot be shortened is no reason to end a training
        with contextlib.suppress(OSError):
            self.log_cap.look()

    def _end_hung(self, trainer: subprocess.Popen[bytes], grace: float) -> None:
        """Writes down where every thread stands, then TERM; KILL comes after the grace."""
        self.hung = True
        beat = heartbeat.read(self.run.heartbeat)
        self.record.add(
            **entries.hung(
                section=self.hang_detector.section,
                silent=round(self.hang_detector.silent, 1),
                limit=round(self.hang_detector.limit(), 1),
                epoch=beat.epoch if beat else 0,
                step=beat.step if beat else 0,
            )
        )
        say(
            f"no heartbeat for {self.hang_detector.silent:.0f} s in the section "
            f"{self.hang_detector.section}; all its threads follow, then it is ended."
        )
        for line in stack_dump.seen_by_the_kernel(trainer.pid):
            say(line)
        if stack_dump.ask(trainer.pid):
            # a process that was stopped by a signal answers once it goes on; it may then save
            os.kill(trainer.pid, signal.SIGCONT)
            time.sleep(_DUMP_S)
        else:
            say("it has no handler for a dump of its stacks.")
        self._ask_to_end(trainer, grace)

    def _ask_to_end(self, trainer: subprocess.Popen[bytes], grace: float) -> None:
        if self.deadline is None:
            self.deadline = time.monotonic() + grace
        os.kill(trainer.pid, signal.SIGTERM)
        # a process that somebody stopped saves only once it is awake
        os.killpg(trainer.pid, signal.SIGCONT)

    def _mark(self) -> tuple[object, str | None]:
        """What changes with each beat, and the section of the last one."""
        try:
            # a command may just touch the file
            touched = self.run.heartbeat.stat().st_mtime_ns
        except OSError:
            return None, None
        beat = heartbeat.read(self.run.heartbeat)
        ours = beat is not None and beat.attempt == self.number
        return (touched, beat), beat.section if beat is not None and ours else None

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

    def _cause(self, code: int | None, signum: int | None, killer: str | None) -> str:
        if code == environment.EXIT_DONE:
            return "done"
        # a killed data worker ends its trainer by an exception: the count of the job's own
        # cgroup is evidence enough; that of the whole machine only with a SIGKILL not of ours
        if (
            self.over_memory
            or killer == "job"
            or (killer == "host" and signum == signal.SIGKILL and not self.killed)
        ):
            return "host_oom"
        if self.hung:
            return "hang"
        if code == environment.EXIT_SAVED:
            return "preempted"
        # asked to end before it could listen, or after its grace: the checkpoints count
        if self.stop_requested and code is None:
            return "preempted"
        if code == environment.EXIT_PERMANENT:
            return "permanent"
        return "crash"

    def _write_all(self) -> None:
        """Record the end: in the journal, or on a full disk in the space kept for it.

        Without either it waits, unless waiting cannot help or the attempt is asked to end; the
        daemon then infers the end from the lock.
        """
        while not self.record.write():
            with contextlib.suppress(OSError):
                reserve.write(self.run.reserve, self.record.waiting)
                return
            error = self.record.trouble
            if self.stop_requested or error is None or error.errno not in _COMES_BACK:
                return
            if signal.sigtimedwait({signal.SIGTERM}, 1.0) is not None:
                return


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def _gpus() -> list[str] | None:
    """The GPUs that the daemon gave this attempt, None on a box without."""
    given = os.environ.get(environment.GPUS)
    return None if given is None else [uuid for uuid in given.split(",") if uuid]

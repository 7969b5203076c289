"""Run one attempt, from lock to exit status, as the small parent process of its trainer.

The keeper outlives the daemon, holds the run's lock, forwards SIGTERM, enforces the grace period
and the memory limit, ends a trainer that hangs and all processes that it leaves behind, and
records the end of the attempt in the journal. Standard library only: it runs with ``-I -S``.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from rekindle.jobs import environment, heartbeat, process, provenance
from rekindle.jobs.handover.receiver import Receiver
from rekindle.jobs.job import Job
from rekindle.jobs.journal_writer import Record, print_line
from rekindle.jobs.keeper import cause, command, container, follow_watch, log_cap, spawn, watch
from rekindle.jobs.keeper.cause import End
from rekindle.jobs.keeper.command import RestorePoint
from rekindle.jobs.keeper.follow_watch import FollowWatch
from rekindle.jobs.keeper.hang_detector import HangDetector, seen_before
from rekindle.jobs.keeper.log_cap import LogCap
from rekindle.jobs.keeper.log_times import LogTimes
from rekindle.jobs.keeper.memory_limit import MemoryLimit
from rekindle.jobs.keeper.termination import Termination, end_leftovers
from rekindle.jobs.spare.held import Held, Start
from rekindle.state import crash_points
from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries, reading, reserve, summary
from rekindle.state.run.running_time import RunningTime

_TRANSIENT: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.ESTALE}
"""Errors of a disk that may end by themselves."""


def main() -> NoReturn:
    """Run ``keeper RUN_DIR ATTEMPT LOCK_FD...``; exit 0 after recording the end of the attempt."""
    run, attempt = Run(Path(sys.argv[1])), int(sys.argv[2])
    lock = tuple(int(fd) for fd in sys.argv[3:])
    signal.pthread_sigmask(signal.SIG_BLOCK, spawn.SIGNALS)
    process.become_subreaper()
    run_attempt(run, attempt, lock)


def run_attempt(
    run: Run, attempt: int, lock: tuple[int, ...], held: Held | None = None
) -> NoReturn:
    """Run an attempt and end the process.

    Args:
        held: a spare that may become its trainer.
    """
    crash_points.reached("keeper_entered")
    # created here, not at acceptance: most of ten thousand queued jobs do not need them yet
    run.logs.mkdir(exist_ok=True)
    run.checkpoints.mkdir(exist_ok=True)
    log = reading.open_regular(run.log(attempt), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with contextlib.suppress(OSError):
        log_cap.remove_older(run.logs, _number(environment.LOG_KEEP, log_cap.DEFAULT_KEEP))
    Attempt(run, attempt, lock, held).run_to_end()
    sys.exit(0)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that an attempt needs before its trainer is spawned.

    Attributes:
        argv, variables: command line and environment of the trainer.
        receiver: writes the checkpoints of a script; None for a command.
        restore_point: of a command; None for a script, whose trainer finds its checkpoint.
        container: of a command that runs a container; else None.
    """

    job: Job
    limit: MemoryLimit
    hang_detector: HangDetector
    follow_watch: FollowWatch
    argv: list[str]
    variables: dict[str, str]
    receiver: Receiver | None
    restore_point: RestorePoint | None
    container: container.Client | None


class Attempt:
    """Start the job's training process once, wait for it, and record its end."""

    def __init__(
        self, run: Run, number: int, lock: tuple[int, ...], held: Held | None = None
    ) -> None:
        self._run = run
        self._number = number
        self._lock = lock
        self._held = held
        self._ran = RunningTime(number, time.monotonic())
        self._record = Record(run.journal, number)
        self._log_times = LogTimes(run.log(number), run.log_times(number))
        self._log = LogCap(
            run.log(number),
            _number(environment.LOG_MAX_BYTES, log_cap.DEFAULT_BYTES),
            self._log_times.cut,
        )

    def run_to_end(self) -> None:
        """Start the trainer, wait for it, and record its end."""
        plan: Plan | None = None
        try:
            plan = self._plan()
            if signal.SIGTERM in signal.sigpending():
                # asked to end before it began: no need to start the trainer
                self._record_no_start("preempted")
                _drop(self._held, plan)
                return
            trainer = self._start(plan)
        except (OSError, RekindleError, ValueError) as error:
            self._record_failure(error)
            # a missing interpreter or folder may be a mount that is back later: transient
            self._record_no_start("crash" if isinstance(error, OSError) else "permanent")
            _drop(self._held, plan)
            return
        self._keep(plan, trainer)

    def _plan(self) -> Plan:
        run = self._run
        job = Job.read(run.job_file)
        checkpoints.sweep(run.checkpoints)
        reserve.take_over(run.reserve, run.journal)
        with contextlib.suppress(OSError):
            # some file systems cannot allocate; recording the end then waits for space
            reserve.prepare(run.reserve)
        before = summary.read(run).entries
        runs_command = job.command is not None
        detector = HangDetector(
            job.limits.hang_timeout, speaks=not runs_command, longest=seen_before(before)
        )
        point = command.restore_point(run, before) if runs_command else None
        ends = None if self._held is None else self._held.ends
        receiver = None if runs_command else Receiver(run, self._record, ends)
        keeper = None if receiver is None else receiver.trainers_end
        argv = spawn.command_line(job, run, self._number, keeper)
        variables = spawn.variables(job, run, self._number, point, began=self._ran.began)
        first = self._look()
        detector.look(first.mark, first.section, first.now)
        return Plan(
            job=job,
            limit=_limit(run, job, self._held),
            hang_detector=detector,
            follow_watch=FollowWatch(
                run,
                self._number,
                command=runs_command,
                after=_number(environment.UNFOLLOWED_AFTER, int(follow_watch.AFTER_S)),
            ),
            argv=argv,
            variables=variables,
            receiver=receiver,
            restore_point=point,
            container=container.client(argv, run, variables, job.workdir) if runs_command else None,
        )

    def _start(self, plan: Plan) -> "subprocess.Popen[bytes]":
        job, run = plan.job, self._run
        argv = plan.argv
        if plan.container is not None:
            argv = plan.container.argv
            if plan.container.end(container.AT_END_S):
                print_line("the container of an earlier attempt still ran; it was ended.")
            if plan.container.added:
                print_line(f"--cidfile was added to the command: {plan.container.cidfile}")
        elif job.command is not None and (engine := container.unseen(argv)) is not None:
            self._record.add(
                **entries.warned(
                    message=f"Containers that `{engine}` starts are not ended with the command.",
                    hint="Use `run` of the engine, or end them in the command when it gets SIGTERM "
                    "and when it starts.",
                )
            )
        trainer, spare = _spawn(argv, plan, self._held, self._lock)
        if plan.receiver is not None:
            plan.receiver.start()
        crash_points.reached("trainer_spawned")
        keeper = process.Identity.of(os.getpid())
        child = process.Identity.of(trainer.pid)
        shown = argv if job.command is not None else [job.script or job.module or "", *job.args]
        self._record.add(
            **entries.attempt_started(
                keeper_pid=os.getpid(),
                keeper_start=keeper.start if keeper else None,
                trainer_pid=trainer.pid,
                trainer_start=child.start if child else None,
                boot_id=process.boot_id(),
                gpus=spawn.gpus(),
                python=job.python or sys.executable,
                argv=shown,
                **({} if spare is None else {"spare": spare}),
            )
        )
        crash_points.reached("attempt_recorded")
        self._publish(time.monotonic())
        if plan.restore_point is not None:
            # of a script, the trainer records both, with the packages of its interpreter
            machine, code = provenance.machine(), provenance.code(job)
            before = provenance.previous(run, self._number)
            changed = provenance.changes(before, {"machine": machine, "code": code})
            self._record.add(**entries.provenance(changed=changed, machine=machine, code=code))
            self._record.add(**plan.restore_point.receipt())
        return trainer

    def _keep(self, plan: Plan, trainer: "subprocess.Popen[bytes]") -> None:
        if plan.limit.bytes is not None and not plan.limit.enforced:
            self._record.add(
                **entries.warned(
                    message="The kernel does not enforce the memory limit here; "
                    "the keeper checks it every second instead.",
                    hint="Run the daemon as a systemd service, or as root.",
                )
            )
        termination = Termination(trainer.pid, plan.job.limits.stop_grace)
        status = watch.wait(
            termination,
            self._look,
            (
                lambda _: self._record.write(),
                lambda seen: self._publish(seen.now),
                lambda _: self._look_at_log(),
                watch.report_unfollowed(self._record, plan.follow_watch, trainer.pid),
                watch.hold_memory(plan.limit, termination),
                watch.end_hung(self._run, self._record, plan.hang_detector, termination),
            ),
        )
        crash_points.reached("trainer_ended")
        end_leftovers(trainer.pid)
        self._look_at_log(last=True)
        crash_points.reached("leftovers_ended")
        if plan.receiver is not None:
            plan.receiver.finish()
        if plan.restore_point is not None:
            for saved in command.committed(self._run, plan.restore_point):
                self._record.add(**saved)
        end = termination.end(status, plan.limit.killed())
        self._record_end(plan, end, self._end_container(plan, end))
        crash_points.reached("end_recorded")
        plan.limit.remove()

    def _end_container(self, plan: Plan, end: End) -> str | None:
        """End the container that the client left running; return another cause of the end."""
        if plan.container is None:
            return None
        try:
            if not plan.container.end(
                container.AT_STOP_S if end.stop_requested else container.AT_END_S
            ):
                return None
            print_line("the container still ran after its client had ended; it was ended.")
            if end.exit_code != 0 or end.stop_requested:
                return None
            raise container.ContainerDetached(
                "The command ended with exit code 0 while its container still ran; the container "
                "was ended.",
                hint="Leave `-d` out of the command, then submit it again.",
            )
        except RekindleError as error:
            if end.exit_code != 0 or end.stop_requested:
                # the next attempt tries again before it starts
                self._record.add(**entries.warned(message=error.what, hint=error.hint))
                return None
            self._record_failure(error)
        return "permanent"

    def _look(self) -> watch.Look:
        return watch.take_look(self._run, self._number)

    def _publish(self, now: float) -> None:
        self._ran.look(now)
        # on a full disk the time is still in the entry of the end
        with contextlib.suppress(OSError):
            self._ran.publish(self._run.running_time)

    def _look_at_log(self, *, last: bool = False) -> None:
        # a log that cannot be shortened, or has no times, must not end the training
        with contextlib.suppress(OSError):
            self._log_times.look(last=last)
        with contextlib.suppress(OSError):
            self._log.look()

    def _record_end(self, plan: Plan, end: End, other_cause: str | None) -> None:
        beat = heartbeat.read(self._run.heartbeat)
        at = beat if beat is not None and beat.attempt == self._number else None
        longest = plan.hang_detector.longest
        ended = entries.attempt_ended(
            exit_code=end.exit_code,
            signal=end.signal,
            cause=other_cause or cause.cause(end),
            stop_requested=end.stop_requested,
            killed_after_grace=end.killed_after_grace,
            memory_limit=plan.job.resources.memory,
            at_epoch=at.epoch if at else None,
            at_step=at.step if at else None,
            at_section=at.section if at else None,
            longest={section: round(seconds, 3) for section, seconds in longest.items()},
            seconds=self._seconds(),
            times=heartbeat.times_of(at),
        )
        if plan.job.command is not None:
            # only a script reports its sections: the verdict takes any but the last one for a
            # premature end
            del ended["at_section"]
        self._record.add(**ended)
        _write_all(self._record, self._run, stop_requested=end.stop_requested)

    def _seconds(self) -> float:
        self._ran.look(time.monotonic())
        return self._ran.seconds

    def _record_failure(self, error: Exception) -> None:
        print_line(f"the attempt failed: {error}")
        self._record.add(**_failed(error))

    def _record_no_start(self, why: str) -> None:
        self._record.add(
            **entries.attempt_ended(
                exit_code=None,
                signal=None,
                cause=why,
                stop_requested=why == "preempted",
                seconds=self._seconds(),
            )
        )
        _write_all(self._record, self._run, stop_requested=False)


def _failed(error: Exception) -> entries.Entry:
    known = error if isinstance(error, RekindleError) else RekindleError(str(error), hint="")
    return entries.failed(
        error_type=type(error).__name__,
        message=known.what,
        hint=known.hint,
        traceback="",
        epoch=0,
        step=0,
    )


def _drop(held: Held | None, plan: Plan | None) -> None:
    """Kill the spare, and remove the cgroups that this keeper has made: nobody else does."""
    if held is not None:
        held.drop()
        if plan is None or held.limit is not plan.limit:
            held.limit.remove()
    if plan is not None:
        plan.limit.remove()


def _limit(run: Run, job: Job, held: Held | None) -> MemoryLimit:
    """Build the memory limit, or take that of a spare which is under it already."""
    if held is not None and held.limit.bytes == job.resources.memory:
        return held.limit
    return MemoryLimit.build(job.resources.memory, f"rekindle-{run.id}-{os.getpid()}")


def _spawn(
    argv: list[str], plan: Plan, held: Held | None, lock: tuple[int, ...]
) -> "tuple[subprocess.Popen[bytes], str | None]":
    """Start the trainer, in the spare where that fits; say why it does not, '' where it does.

    Keep the process that it returns: dropped, it takes the exit status of a trainer that has ended.
    """
    job, umask, why = plan.job, spawn.umask(plan.job), None
    if held is not None:
        script = (job.script, *job.args, str(job.seed))
        start = Start(script, argv, plan.variables, job.workdir, umask, job.resources.memory)
        why = held.take(start, lock)
        if why is None:
            print_line("the attempt begins in a warm spare.")
            return held.process, ""
        print_line(f"the warm spare is not used: {why}.")
        if held.limit is not plan.limit:
            held.limit.remove()  # another limit than the attempt's: the spare had it alone
    inherited = lock if plan.receiver is None else (*lock, plan.receiver.trainers_end)
    return spawn.spawn(argv, plan.variables, job.workdir, inherited, plan.limit, umask), why


def _write_all(record: Record, run: Run, *, stop_requested: bool) -> None:
    """Record the end: in the journal, or on a full disk in the reserve.

    If neither is possible it waits, unless the error is permanent or the attempt is asked to end;
    the daemon then infers the end from the lock.
    """
    while not record.write():
        with contextlib.suppress(OSError):
            reserve.write(run.reserve, record.waiting)
            return
        error = record.trouble
        if stop_requested or error is None or error.errno not in _TRANSIENT:
            return
        if signal.sigtimedwait({signal.SIGTERM}, 1.0) is not None:
            return


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default

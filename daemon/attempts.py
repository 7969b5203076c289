"""The attempts of all jobs: start, watch, stop, and what becomes of a job when one ends.

Effects of one job's life stand here in the order in which they happen; what is decided is
in `verdicts`. The ledger learns of a start before anything is spawned, and of everything
else from the run directory, so that a restarted daemon comes to the same ends.
"""

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from rekindle.daemon import ending, room, trouble, verdicts
from rekindle.daemon.intake import warm_start
from rekindle.daemon.launcher import Launcher
from rekindle.jobs import heartbeat, process
from rekindle.jobs.job import Job, RetryPolicy
from rekindle.state import crash_points, journal
from rekindle.state.errors import LockHeld, SpecError
from rekindle.state.ledger import Ledger
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Home, Run
from rekindle.state.rows import JobRow

_ORPHAN_GRACE_S = 5.0
_START_RETRY_S = 10.0
_START_RETRY_LATER_S = 30.0
"""When the reason is the one of the last try."""


class Attempts:
    """All attempts of one home.

    Args:
        crash_point: called with the name of each commit point, for tests that kill there.
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        launcher: Launcher,
        *,
        crash_point: Callable[[str], None] = crash_points.reached,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._launcher = launcher
        self._crash_point = crash_point
        self._told_to_end: set[str] = set()
        self._orphaned: dict[str, float] = {}
        self._troubled: dict[str, str] = {}
        self._spawned: set[tuple[str, int]] = set()
        self._log = structlog.get_logger()
        self.daemon_stopping = False
        self.machine_leaving = False

    def active(self) -> list[JobRow]:
        """Jobs that have an attempt which has not ended, as the ledger knows it."""
        return self._ledger.jobs(states=ACTIVE)

    def adopt(self) -> None:
        """Takes over what an earlier daemon left: live attempts go on, ended ones are settled."""
        for job in self.active():
            with self._apart(job):
                if self._launcher.alive(self._home.run(job.id)):
                    self._log.info("attempt_adopted", job=job.id, attempt=job.attempts)
                    self._ledger.add_event("attempt_adopted", job=job.id, attempt=job.attempts)
        self.watch()

    def all_ended(self) -> bool:
        """Whether no process of an attempt lives, settled or not."""
        return not any(self._lives(job) for job in self.active())

    def start(self, job: JobRow, gpus: Sequence[str] | None = None) -> bool:
        """Begins the next attempt of a job that is queued or whose wait is over.

        Args:
            gpus: UUIDs of the GPUs it gets; None on a box without.

        Returns:
            False where nothing was begun: the job then waits, or is held, with the reason.
        """
        run = self._home.run(job.id)
        now = time.time()
        try:
            if self._is_kept_from_starting(job, run, now):
                return False
        except Exception as error:
            if trouble.with_ledger(error):
                raise  # no job's own
            self._cannot_start(job, error, now)
            return False
        attempt = job.attempts + 1
        with self._ledger.transaction():
            self._ledger.begin_attempt(job.id, attempt, now, gpus)
            self._ledger.set_state(job.id, JobState.STARTING, f"Attempt {attempt} is starting.",
                                   now=now)
        self._crash_point("attempt_begun")
        try:
            keeper = self._launcher.start(run, attempt, gpus)
        except (OSError, LockHeld) as error:
            self._ledger.update_attempt(job.id, attempt, outcome="not started", ended_at=now,
                                        cause="unknown")
            why = error.what if isinstance(error, LockHeld) else f"{error.strerror}."
            self._postpone(job, f"The attempt could not be started: {why}", now)
            return False
        self._crash_point("keeper_spawned")
        self._spawned.add((job.id, attempt))
        if keeper is not None:
            self._ledger.update_attempt(job.id, attempt, keeper_pid=keeper.pid,
                                        keeper_start=keeper.start, boot_id=keeper.boot_id)
        self._log.info("attempt_started", job=job.id, attempt=attempt)
        return True

    def _is_kept_from_starting(self, job: JobRow, run: Run, now: float) -> bool:
        """Whether something is in the way; the job then waits or is held, with the reason."""
        if self._launcher.alive(run):
            self._postpone(job, "Something of an earlier attempt is still alive.", now)
            return True
        if self._weights_are_missing(job, run, now):
            return True
        lacking = room.lacking(run, self._memory_to_wait_for(job, run))
        if lacking is not None:
            self._postpone(job, lacking, now)
        return lacking is not None

    def _cannot_start(self, job: JobRow, error: Exception, now: float) -> None:
        """One job's trouble: the jobs behind it must not wait for it."""
        what, _ = trouble.told(error)
        if trouble.passes(error):
            self._postpone(job, f"The attempt could not be started: {what}", now)
        elif isinstance(error, OSError | ValueError | SpecError):
            self._ledger.set_state(
                job.id, JobState.HELD, f"Its run directory cannot be used: {what}", now=now,
                hint="Put right what it names (the daemon's user must own all of the run "
                "directory), then `rekindle release`.")
            self._log.warning("job_held", job=job.id, reason=what)
        else:
            self._log.error("start_failed", job=job.id, exc_info=error)
            self._postpone(job, f"The attempt could not be started: {what}", now)

    def _weights_are_missing(self, job: JobRow, run: Run, now: float) -> bool:
        """Fetches what ``warm_start`` names; True, with the reason told, where that fails."""
        obstacle = warm_start.fetch(self._home, self._ledger, Job.from_json(
            run.job_file.read_text()))
        if obstacle is None:
            return False
        if obstacle.wait:
            self._postpone(job, obstacle.reason, now)
        else:
            self._ledger.set_state(job.id, JobState.HELD, obstacle.reason, now=now,
                                   hint=obstacle.hint)
            self._log.warning("job_held", job=job.id, reason=obstacle.reason)
        return True

    def watch(self) -> None:
        """Reads what the attempts wrote, and settles those that have ended."""
        for job in self.active():
            with self._apart(job):
                self._watch(job, self._home.run(job.id))

    def _lives(self, job: JobRow) -> bool:
        try:
            return self._launcher.alive(self._home.run(job.id))
        except OSError:
            # without the lock its keeper is all that can be asked
            keeper = self._keeper(job)
            return keeper is not None and keeper.alive()

    def _watch(self, job: JobRow, run: Run) -> None:
        alive = self._lives(job)
        # read after the probe: what a dead attempt wrote is then all there
        self.read(job)
        if not alive:
            self._settle(job, run)
        elif job.state == JobState.STOPPING or self.daemon_stopping or self.machine_leaving:
            self._tell_to_end(job)
        elif self._is_orphaned(job, run):
            self._end_orphan(job, run)

    def read(self, job: JobRow) -> None:
        """Takes new journal entries of a job into the ledger."""
        run = self._home.run(job.id)
        replay = journal.replay(run.journal, job.journal_offset)
        if replay.offset == job.journal_offset:
            return
        self._ledger.ingest(job.id, replay.entries, replay.offset)
        self._crash_point("journal_ingested")
        if replay.torn:
            self._log.warning("journal_lines_torn", job=job.id, lines=replay.torn)
        for entry in replay.entries:
            self._note(job, entry)

    def stop(self, job: JobRow, wish: str, reason: str) -> None:
        """Asks the job's attempt to save and end; ``wish`` is one of `verdicts.WISHES`."""
        if job.state != JobState.STOPPING:
            self._ledger.set_state(job.id, JobState.STOPPING, reason, now=time.time(), wish=wish)
        elif job.wish != wish:
            self._ledger.set_wish(job.id, wish)
        self._crash_point("wish_noted")
        self._tell_to_end(job)

    def stop_all(self) -> None:
        """Asks every attempt to save and end; their jobs go on with the next daemon."""
        self.daemon_stopping = True
        for job in self.active():
            with self._apart(job):
                self._tell_to_end(job)

    @contextlib.contextmanager
    def _apart(self, job: JobRow) -> Iterator[None]:
        """What goes wrong with one job is told once and tried again; the others go on."""
        try:
            yield
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if self._troubled.get(job.id) != text:
                self._troubled[job.id] = text
                self._log.exception("job_in_trouble", job=job.id, error=text)
        else:
            self._troubled.pop(job.id, None)

    def _note(self, job: JobRow, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        log = self._log.bind(job=job.id, attempt=entry.get("attempt"))
        if kind == "attempt_started":
            current = self._ledger.job(job.id)
            if current is not None and current.state == JobState.STARTING:
                self._ledger.set_state(job.id, JobState.RUNNING,
                                       f"Attempt {entry['attempt']} is running.", now=time.time())
        elif kind == "resumed":
            log.info("training_resumed" if entry.get("checkpoint") else "training_began",
                     epoch=entry.get("epoch"), step=entry.get("step"),
                     checkpoint=entry.get("checkpoint"), lost_steps=entry.get("lost_steps"))
        elif kind == "epoch_ended":
            log.info("epoch_ended", epoch=entry.get("epoch"), step=entry.get("step"),
                     **{k: round(v, 4) for k, v in entry.get("logs", {}).items()
                        if isinstance(v, int | float) and k not in ("epoch", "step", "event")})
        elif kind in ("checkpoint_refused", "save_failed", "warned"):
            log.warning(kind, **{k: v for k, v in entry.items()
                                 if k in ("name", "reason", "error", "message", "hint")})
        elif kind == "failed":
            log.error("script_failed", error_type=entry.get("error_type"),
                      message=entry.get("message"))

    def _settle(self, job: JobRow, run: Run) -> None:
        """Records the end of the latest attempt and the verdict, in one transaction."""
        current = self._ledger.job(job.id)
        assert current is not None
        try:
            policy, damage = Job.from_json(run.job_file.read_text()).retry, None
        except (OSError, ValueError, SpecError) as error:
            policy, damage = RetryPolicy(), error
        facts = ending.read(journal.replay(run.journal).entries, current.attempts)
        if not run.root.is_dir():
            verdict, damage = verdicts.gone(current.wish, current.failures), None
        else:
            verdict = verdicts.decide(
                facts,
                policy=policy,
                failures=current.failures,
                wish=current.wish,
                boot_id=process.boot_id(),
                daemon_stopping=self.daemon_stopping,
                last_words=self._last_words(run) if (job.id, current.attempts) in self._spawned
                else None,
            )
        if damage is not None and verdict.state in (JobState.QUEUED, JobState.WAITING):
            verdict = verdicts.cannot_go_on(verdict, damage)
        self._crash_point("before_settle")
        now = time.time()
        fields: dict[str, Any] = {}
        beat = heartbeat.read(run.heartbeat)
        if beat is not None and beat.attempt == current.attempts:
            fields = {"to_step": beat.step, "to_epoch": beat.epoch}
        with self._ledger.transaction():
            self._ledger.update_attempt(
                job.id, current.attempts, outcome=verdict.outcome, cause=verdict.cause,
                exit_code=facts.exit_code, signal=facts.signal, ended_at=now, **fields)
            self._ledger.set_state(
                job.id, verdict.state, verdict.reason, hint=verdict.hint or None, now=now,
                next_at=now + verdict.delay if verdict.delay else None,
                failures=verdict.failures, wish=None)
        self._crash_point("settled")
        self._told_to_end.discard(job.id)
        self._spawned.discard((job.id, current.attempts))
        self._orphaned.pop(job.id, None)
        log = self._log.bind(job=job.id, attempt=current.attempts)
        log.info("attempt_ended", outcome=verdict.outcome, cause=verdict.cause,
                 exit_code=facts.exit_code, signal=facts.signal)
        log.info("job_state_changed", state=str(verdict.state), reason=verdict.reason)

    def _last_words(self, run: Run) -> str:
        """What the keeper, which says nothing while all is well, said last; empty for nothing."""
        try:
            lines = run.keeper_log.read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]

    def _postpone(self, job: JobRow, reason: str, now: float) -> None:
        """Waits a little; the same reason as before is not told again every few seconds."""
        current = self._ledger.job(job.id)
        # digits are how much is free: they change all the time
        same = current is not None and _without_digits(current.reason) == _without_digits(reason)
        if current is not None and current.state == JobState.WAITING and same:
            self._ledger.put_off(job.id, now + _START_RETRY_LATER_S)
            return
        self._ledger.set_state(job.id, JobState.WAITING, reason, now=now,
                               next_at=now + _START_RETRY_S)
        self._log.warning("start_postponed", job=job.id, reason=reason)

    def _memory_to_wait_for(self, job: JobRow, run: Run) -> int | None:
        """Bytes that an attempt which the memory was too small for should find free now."""
        last = self._ledger.attempt(job.id, job.attempts)
        if last is None or last.cause != "host_oom":
            return None
        try:
            return Job.from_json(run.job_file.read_text()).resources.memory
        except (OSError, ValueError, SpecError):
            return None

    def _tell_to_end(self, job: JobRow) -> None:
        """Once per attempt; an attempt whose keeper is not known yet is told at a later tick."""
        if job.id in self._told_to_end:
            return
        keeper = self._keeper(job)
        if keeper is not None and self._launcher.terminate(keeper):
            self._told_to_end.add(job.id)
            self._log.info("attempt_told_to_end", job=job.id, attempt=job.attempts)

    def _keeper(self, job: JobRow) -> process.Identity | None:
        row = self._ledger.attempt(job.id, job.attempts)
        if row is None or row.keeper_pid is None or row.keeper_start is None:
            return None
        return process.Identity(row.keeper_pid, row.keeper_start, row.boot_id or "")

    def _is_orphaned(self, job: JobRow, run: Run) -> bool:
        """The lock is held but the keeper is gone: only leftovers of the trainer live."""
        keeper = self._keeper(job)
        if keeper is None or keeper.alive():
            self._orphaned.pop(job.id, None)
            return False
        since = self._orphaned.setdefault(job.id, time.monotonic())
        return time.monotonic() - since > _ORPHAN_GRACE_S

    def _end_orphan(self, job: JobRow, run: Run) -> None:
        """Ends all that holds the run's lock: by that, and not by a pid, it is the job's."""
        for pid in process.users_of(run.lock):
            leftover = process.Identity.of(pid)
            if leftover is not None and leftover.send(signal.SIGKILL):
                self._log.warning("leftover_killed", job=job.id, pid=pid)


def _without_digits(text: str) -> str:
    return re.sub(r"\d+", "", text)

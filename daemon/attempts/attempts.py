"""The attempts of all jobs: start, watch, stop, and what becomes of a job when one ends.

Effects of one job's life stand here in the order in which they happen; what is decided is
in `verdicts`. The ledger learns of a start before anything is spawned, and of everything
else from the run directory, so that a restarted daemon comes to the same ends.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from rekindle.daemon import errors
from rekindle.daemon.attempts import escalation, orphans, preflight, warm_start
from rekindle.daemon.attempts import outcome as ending
from rekindle.daemon.attempts import verdict as verdicts
from rekindle.daemon.attempts.escalation import Escalation
from rekindle.daemon.attempts.launcher import Launcher
from rekindle.daemon.attempts.saved import Saved
from rekindle.daemon.attempts.warm_start import Obstacle
from rekindle.daemon.service.background import Background
from rekindle.jobs import heartbeat, process
from rekindle.jobs.job import Job, Limits, RetryPolicy
from rekindle.state import crash_points
from rekindle.state.errors import LockHeld, SpecError
from rekindle.state.ledger import ingest
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Home, Run
from rekindle.state.run import journal, reading, reserve

_ORPHAN_GRACE_S = 5.0
_KILLED_S = 10.0
"""A process that was killed has ended by then, or cannot."""
_START_RETRY_S = 10.0
_START_RETRY_LATER_S = 30.0
"""When the reason is the one of the last try."""
_WATCH_BUDGET_S: Final = 1.0
"""What one tick may spend on reading journals; the other jobs have their turn at the next."""
_CHUNK_BYTES: Final = 2**20
"""Of one journal, read in one tick."""
_LONG_JOURNAL_BYTES: Final = 4 * 2**20
"""A longer one is read for its verdict in the background."""


class Attempts:
    """All attempts of one home.

    Args:
        background: carries out what may wait for a disk.
        crash_point: called with the name of each commit point, for tests that kill there.
    """

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        launcher: Launcher,
        *,
        background: Background | None = None,
        crash_point: Callable[[str], None] = crash_points.reached,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._launcher = launcher
        self._background = background or Background()
        self._fetching: set[str] = set()
        self._last_watched = ""
        self._crash_point = crash_point
        self._escalation = Escalation(ledger, launcher)
        self._orphaned: dict[str, float] = {}
        self._leftovers: dict[str, dict[process.Identity, float | None]] = {}
        self._interrupted: set[tuple[str, int]] = set()
        self._troubled: dict[str, str] = {}
        self._spawned: set[tuple[str, int]] = set()
        self._log = structlog.get_logger()
        self.daemon_stopping = False
        self.machine_leaving = False

    def active(self) -> list[JobRow]:
        """Jobs that have an attempt which has not ended, as the ledger knows it."""
        return self._ledger.jobs(states=ACTIVE)

    def job_file(self, job_id: str) -> Path:
        """Where the accepted spec of a job lies."""
        return self._home.run(job_id).job_file

    def catch_up(self, job: JobRow) -> None:
        """Takes in what was written into the journal of a job that has no attempt."""
        with self._apart(job), contextlib.suppress(FileNotFoundError):
            if self._home.run(job.id).journal.stat().st_size > job.journal_offset:
                self.read(job)

    def adopt(self, *, daemon_was_killed: bool = False) -> None:
        """Takes over what an earlier daemon left: live attempts go on, ended ones are settled.

        Args:
            daemon_was_killed: that daemon had not ended by itself. An attempt that nothing is
                left of has then been killed together with it.
        """
        for job in self.active():
            with self._apart(job):
                run = self._home.run(job.id)
                if self._lives(job, run):
                    self._log.info("attempt_adopted", job=job.id, attempt=job.attempts)
                    self._ledger.add_event("attempt_adopted", job=job.id, attempt=job.attempts)
                elif daemon_was_killed and not orphans.marked(run):
                    self._interrupted.add((job.id, job.attempts))
        self.watch()

    def all_ended(self) -> bool:
        """Whether no process of an attempt lives that could still be ended, settled or not."""
        return not any(
            self._has_processes(job) and not self._escalation.given_up(job) for job in self.active()
        )

    def longest_end(self) -> float:
        """Seconds within which every attempt has ended, or been given up, once it was asked to."""
        graces = [self._grace(self._home.run(job.id)) for job in self.active()]
        return max(graces, default=0.0) + escalation.LONGEST_S

    def left(self) -> list[str]:
        """The jobs that have processes now."""
        return [job.id for job in self.active() if self._has_processes(job)]

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
            if errors.is_of_ledger(error):
                raise  # no job's own
            self._cannot_start(job, run, error, now)
            return False
        attempt = job.attempts + 1
        with self._ledger.transaction():
            self._ledger.begin_attempt(job.id, attempt, now, gpus)
            self._ledger.set_state(
                job.id, JobState.STARTING, f"Attempt {attempt} is starting.", now=now
            )
        self._crash_point("attempt_begun")
        try:
            keeper = self._launcher.start(run, attempt, gpus)
        except (OSError, LockHeld) as error:
            self._ledger.update_attempt(
                job.id, attempt, outcome="not started", ended_at=now, cause="unknown"
            )
            if isinstance(error, OSError) and str(error.filename).startswith(f"{run.root}/"):
                self._cannot_start(job, run, error, now)
                return False
            why = error.what if isinstance(error, LockHeld) else f"{error.strerror}."
            self._postpone(job, f"The attempt could not be started: {why}", now)
            return False
        self._crash_point("keeper_spawned")
        self._spawned.add((job.id, attempt))
        if keeper is not None:
            self._ledger.update_attempt(
                job.id,
                attempt,
                keeper_pid=keeper.pid,
                keeper_start=keeper.start,
                boot_id=keeper.boot_id,
            )
        self._log.info("attempt_started", job=job.id, attempt=attempt)
        return True

    def _is_kept_from_starting(self, job: JobRow, run: Run, now: float) -> bool:
        """Whether something is in the way; the job then waits or is held, with the reason."""
        # not by the keeper's cgroup or session: a script can leave both
        if (
            self._launcher.alive(run)
            or self._keeper_lives(job, run)
            or self._end_orphans(job, orphans.marked(run))
        ):
            self._postpone(job, "Something of an earlier attempt is still alive.", now)
            return True
        if self._weights_are_missing(job, run, now):
            return True
        lacking = preflight.lacking(run, self._memory_to_wait_for(job, run))
        if lacking is not None:
            self._postpone(job, lacking, now)
        return lacking is not None

    def _cannot_start(self, job: JobRow, run: Run, error: Exception, now: float) -> None:
        """One job's trouble: the jobs behind it must not wait for it."""
        what, _ = errors.describe(error)
        if errors.is_transient(error):
            self._postpone(job, f"The attempt could not be started: {what}", now)
        elif isinstance(error, OSError | ValueError | SpecError):
            self._ledger.set_state(
                job.id,
                JobState.HELD,
                f"Its run directory cannot be used: {what}",
                now=now,
                hint="Put right what it names (the daemon's user must own all of the run "
                f"directory {run.root}), then `rekindle release {job.id}`.",
            )
            self._log.warning("job_held", job=job.id, reason=what)
        else:
            self._log.error("start_failed", job=job.id, exc_info=error)
            self._postpone(job, f"The attempt could not be started: {what}", now)

    def _weights_are_missing(self, job: JobRow, run: Run, now: float) -> bool:
        """Fetches what ``warm_start`` names; True, with the reason told, where it is not there."""
        wanted = warm_start.wanted(self._home, self._ledger, Job.read(run.job_file))
        if wanted is None:
            return False
        if isinstance(wanted, warm_start.Fetch):
            self._fetching.add(job.id)
            outcome = self._background.ask(("warm_start", job.id), wanted.carry_out)
            if outcome is None:
                obstacle = Obstacle(
                    f"It reads and copies the weights of {wanted.source} first.", "", wait=True
                )
            else:
                self._fetching.discard(job.id)
                obstacle = outcome.get()
        else:
            obstacle = wanted
        if obstacle is None:
            return False
        if obstacle.wait:
            self._postpone(job, obstacle.reason, now)
        else:
            self._ledger.set_state(
                job.id, JobState.HELD, obstacle.reason, now=now, hint=obstacle.hint
            )
            self._log.warning("job_held", job=job.id, reason=obstacle.reason)
        return True

    def _wake_fetched(self) -> None:
        """Ends the wait of jobs whose weights have come."""
        for job_id in [*self._fetching]:
            if self._background.has_ended(("warm_start", job_id)):
                job = self._ledger.job(job_id)
                if job is not None and job.state == JobState.WAITING:
                    self._ledger.put_off(job_id, time.time())
                elif job is None or job.state != JobState.QUEUED:
                    self._background.forget(("warm_start", job_id))
                self._fetching.discard(job_id)

    def watch(self) -> None:
        """Reads what the attempts wrote, and settles those that have ended."""
        began = time.monotonic()
        jobs = self.active()
        after = (
            [job.id for job in jobs].index(self._last_watched) + 1
            if any(job.id == self._last_watched for job in jobs)
            else 0
        )
        for job in (*jobs[after:], *jobs[:after]):
            with self._apart(job):
                self._watch(job, self._home.run(job.id))
            if time.monotonic() - began > _WATCH_BUDGET_S:
                self._last_watched = job.id
                break
        self._wake_fetched()

    def _lives(self, job: JobRow, run: Run) -> bool:
        """Whether the attempt's lock is held or its keeper lives."""
        try:
            if self._launcher.alive(run):
                return True
        except OSError:
            pass  # without the lock its keeper is all that can be asked
        return self._keeper_lives(job, run)

    def _keeper_lives(self, job: JobRow, run: Run) -> bool:
        keeper = self._keeper(job)
        # in a copy of a home the records name the keepers of the other one
        return keeper is not None and keeper.alive() and process.works_in(keeper.pid, run.root)

    def _has_processes(self, job: JobRow) -> bool:
        run = self._home.run(job.id)
        return self._lives(job, run) or bool(
            not self._has_recorded_end(job) and orphans.marked(run)
        )

    def _watch(self, job: JobRow, run: Run) -> None:
        alive = self._lives(job, run)
        if alive and (
            job.state == JobState.STOPPING or self.daemon_stopping or self.machine_leaving
        ):
            self._ask_to_end(job, run)
        trouble_with_journal: Exception | None = None
        whole = False
        try:
            # read after the probe: what a dead attempt wrote is then all there
            whole = self.read(job, _CHUNK_BYTES)
        except Exception as error:
            # whatever lies in its journal's place keeps no attempt from being settled
            trouble_with_journal, whole = error, not errors.is_transient(error)
        if alive:
            if self._is_orphaned(job, run):
                self._end_orphans(job, orphans.of(run))
        # the journal may just have named the keeper
        elif (
            whole
            and not self._lives(job, run)
            and (self._has_recorded_end(job) or not self._end_orphans(job, orphans.marked(run)))
        ):
            self._settle_or_hold(job, run)
        if trouble_with_journal is not None:
            raise trouble_with_journal

    def _has_recorded_end(self, job: JobRow) -> bool:
        """Whether its keeper wrote how the attempt ended, which it does once all has ended."""
        row = self._ledger.attempt(job.id, job.attempts)
        return row is not None and row.seconds is not None

    def read(self, job: JobRow, most: int = -1) -> bool:
        """Takes new journal entries of a job into the ledger; True where none are left.

        Args:
            most: bytes to read; -1 for all.
        """
        run = self._home.run(job.id)
        replay = journal.replay(run.journal, job.journal_offset, most=most)
        if replay.offset == job.journal_offset:
            return True
        with self._ledger.transaction():
            self._ledger.ingest(job.id, replay.entries, replay.offset)
            for entry in replay.entries:
                if entry["kind"] == "attempt_started":
                    self._note_running(job, entry["attempt"])
        self._crash_point("journal_ingested")
        if replay.torn:
            self._log.warning("journal_lines_torn", job=job.id, lines=replay.torn)
        for entry in replay.entries:
            self._note(job, entry)
        return most < 0 or replay.offset - job.journal_offset < most

    def _note_running(self, job: JobRow, attempt: int) -> None:
        current = self._ledger.job(job.id)
        if (
            current is not None
            and current.state == JobState.STARTING
            and current.attempts == attempt
        ):
            row = self._ledger.attempt(job.id, attempt)
            self._ledger.set_state(
                job.id,
                JobState.RUNNING,
                ingest.running(attempt, row.unfollowed if row is not None else None),
                now=time.time(),
            )

    def saved(self, job: JobRow) -> Saved:
        """What a relaunch of the job would find, and whether its attempt would save now."""
        return Saved.of(self._ledger, job, self._home.run(job.id))

    def stop(self, job: JobRow, wish: str, reason: str) -> None:
        """Asks the job's attempt to save and end; ``wish`` is one of `verdicts.WISHES`."""
        if job.state != JobState.STOPPING:
            self._ledger.set_state(job.id, JobState.STOPPING, reason, now=time.time(), wish=wish)
        elif job.wish != wish:
            self._ledger.set_wish(job.id, wish)
        self._crash_point("wish_noted")
        self._ask_to_end(job, self._home.run(job.id))

    @contextlib.contextmanager
    def _apart(self, job: JobRow) -> Iterator[None]:
        """What goes wrong with one job is told once and tried again; the others go on."""
        try:
            yield
        except Exception as error:
            self._tell_trouble(job, error)
        else:
            self._troubled.pop(job.id, None)

    def _tell_trouble(self, job: JobRow, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if self._troubled.get(job.id) != text:
            self._troubled[job.id] = text
            self._log.error("job_in_trouble", job=job.id, error=text, exc_info=error)

    def _note(self, job: JobRow, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        log = self._log.bind(job=job.id, attempt=entry.get("attempt"))
        if kind == "warned" and entry.get("unfollowed") is True:
            log.error("training_not_followed", message=entry.get("message"))
        elif kind == "resumed":
            log.info(
                "training_resumed" if entry.get("checkpoint") else "training_began",
                epoch=entry.get("epoch"),
                step=entry.get("step"),
                checkpoint=entry.get("checkpoint"),
                lost_steps=entry.get("lost_steps"),
            )
        elif kind == "epoch_ended":
            log.info(
                "epoch_ended",
                epoch=entry.get("epoch"),
                step=entry.get("step"),
                **{
                    k: round(v, 4)
                    for k, v in entry.get("logs", {}).items()
                    if isinstance(v, int | float) and k not in ("epoch", "step", "event")
                },
            )
        elif kind in ("checkpoint_refused", "save_failed", "warned"):
            log.warning(
                kind,
                **{
                    k: v
                    for k, v in entry.items()
                    if k in ("name", "reason", "error", "message", "hint")
                },
            )
        elif kind == "failed":
            log.error(
                "script_failed", error_type=entry.get("error_type"), message=entry.get("message")
            )

    def _settle_or_hold(self, job: JobRow, run: Run) -> None:
        """Settles an ended attempt; what nobody has foreseen holds its job, and only that."""
        try:
            self._settle(job, run)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._log.error("attempt_not_settled", job=job.id, exc_info=error)
            what, _ = errors.describe(error)
            now = time.time()
            with self._ledger.transaction():
                self._ledger.update_attempt(
                    job.id, job.attempts, outcome="lost", cause="lost", ended_at=now
                )
                self._ledger.set_state(
                    job.id,
                    JobState.HELD,
                    f"The end of its attempt cannot be judged: {what}",
                    # nothing here may look at the run directory once more
                    hint="The daemon's log says more. Then `rekindle release` tries again.",
                    now=now,
                    wish=None,
                )

    def _settle(self, job: JobRow, run: Run) -> None:
        """Records the end of the latest attempt and the verdict, in one transaction."""
        current = self._ledger.job(job.id)
        assert current is not None
        damage: verdicts.Damage | None = None
        policy = RetryPolicy()
        try:
            policy = Job.read(run.job_file).retry
        except (OSError, SpecError) as error:
            damage = verdicts.Damage.of(run.job_file, error)
        try:
            found = self._facts(
                run, current.attempts, interrupted=(job.id, current.attempts) in self._interrupted
            )
        except OSError as error:
            if errors.is_transient(error):
                raise
            found = ending.read((), current.attempts)
            damage = verdicts.Damage.of(run.journal, error)
        if found is None:
            return  # a long journal is being read
        facts = self._escalation.correct(current, found)
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
                saved=self.saved(current),
                last_words=self._last_words(run)
                if (job.id, current.attempts) in self._spawned
                else None,
                job=job.id,
            )
        if damage is not None and verdict.state in (JobState.QUEUED, JobState.WAITING):
            verdict = verdicts.cannot_go_on(verdict, damage, job.id)
        verdict = verdicts.with_note(verdict, self._escalation.told(current))
        self._crash_point("before_settle")
        now = time.time()
        fields: dict[str, Any] = {}
        beat = heartbeat.read(run.heartbeat)
        if beat is not None and beat.attempt == current.attempts:
            fields = {"to_step": beat.step, "to_epoch": beat.epoch}
        with self._ledger.transaction():
            self._ledger.update_attempt(
                job.id,
                current.attempts,
                outcome=verdict.outcome,
                cause=verdict.cause,
                exit_code=facts.exit_code,
                signal=facts.signal,
                ended_at=now,
                **fields,
            )
            self._ledger.set_state(
                job.id,
                verdict.state,
                verdict.reason,
                hint=verdict.hint or None,
                now=now,
                next_at=now + verdict.delay if verdict.delay else None,
                failures=verdict.failures,
                wish=None,
            )
        self._crash_point("settled")
        self._escalation.forget(job)
        self._leftovers.pop(job.id, None)
        self._interrupted.discard((job.id, current.attempts))
        self._spawned.discard((job.id, current.attempts))
        self._orphaned.pop(job.id, None)
        log = self._log.bind(job=job.id, attempt=current.attempts)
        log.info(
            "attempt_ended",
            outcome=verdict.outcome,
            cause=verdict.cause,
            exit_code=facts.exit_code,
            signal=facts.signal,
        )
        log.info("job_state_changed", state=str(verdict.state), reason=verdict.reason)

    def _facts(self, run: Run, attempt: int, *, interrupted: bool) -> ending.Ending | None:
        """What the journal says about an attempt; None while a long one is being read.

        Raises:
            OSError: it cannot be read.
        """
        left = reserve.take_over(run.reserve, run.journal)

        def work() -> ending.Ending:
            return ending.read(
                (*journal.replay(run.journal).entries, *left), attempt, interrupted=interrupted
            )

        try:
            short = run.journal.stat().st_size <= _LONG_JOURNAL_BYTES
        except FileNotFoundError:
            short = True
        if short:
            return work()
        outcome = self._background.ask(("facts", run.id, attempt), work)
        found: ending.Ending | None = None if outcome is None else outcome.get()
        return found

    def _last_words(self, run: Run) -> str:
        """What the keeper, which says nothing while all is well, said last; empty for nothing."""
        try:
            lines = reading.read_bytes(run.keeper_log).decode(errors="replace").split("\n")
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
        self._ledger.set_state(
            job.id, JobState.WAITING, reason, now=now, next_at=now + _START_RETRY_S
        )
        self._log.warning("start_postponed", job=job.id, reason=reason)

    def _memory_to_wait_for(self, job: JobRow, run: Run) -> int | None:
        """Bytes that an attempt which the memory was too small for should find free now."""
        last = self._ledger.attempt(job.id, job.attempts)
        if last is None or last.cause != "host_oom":
            return None
        try:
            return Job.read(run.job_file).resources.memory
        except (OSError, SpecError):
            return None

    def _ask_to_end(self, job: JobRow, run: Run) -> None:
        self._escalation.pursue(job, run, lambda: self._grace(run), time.monotonic())

    def _grace(self, run: Run) -> float:
        """Seconds that a trainer has for saving, by its accepted spec."""
        try:
            return Job.read(run.job_file).limits.stop_grace
        except (OSError, SpecError):
            return Limits().stop_grace

    def _keeper(self, job: JobRow) -> process.Identity | None:
        row = self._ledger.attempt(job.id, job.attempts)
        return (
            None
            if row is None
            else process.Identity.recorded(row.keeper_pid, row.keeper_start, row.boot_id)
        )

    def _is_orphaned(self, job: JobRow, run: Run) -> bool:
        """The lock is held but the keeper is gone: only leftovers of the trainer live."""
        keeper = self._keeper(job)
        if keeper is None or keeper.alive():
            self._orphaned.pop(job.id, None)
            return False
        since = self._orphaned.setdefault(job.id, time.monotonic())
        return time.monotonic() - since > _ORPHAN_GRACE_S

    def _end_orphans(self, job: JobRow, found: Sequence[process.Identity]) -> bool:
        """Kill what is left of an attempt whose keeper is gone; True where there was anything."""
        orphans.kill(found)
        told = self._leftovers.setdefault(job.id, {}) if found else {}
        now = time.monotonic()
        for one in found:
            since = told.setdefault(one, now)
            if since == now:
                self._note_leftover("leftover_killed", job, one, "outlived its keeper")
            elif since is not None and now - since > _KILLED_S:
                # as in a call that the kernel does not end: the next attempt has to wait for it
                told[one] = None
                self._note_leftover("leftover_does_not_end", job, one, "cannot be killed")
        return bool(found)

    def _note_leftover(self, kind: str, job: JobRow, one: process.Identity, how: str) -> None:
        about = {"pid": one.pid, "message": f"Process {one.pid} of attempt {job.attempts} {how}."}
        self._log.warning(kind, job=job.id, attempt=job.attempts, **about)
        self._ledger.add_event(kind, job=job.id, attempt=job.attempts, data=about)


def _without_digits(text: str) -> str:
    return re.sub(r"\d+", "", text)

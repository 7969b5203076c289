"""Settle an attempt that has ended: record its end and the verdict in one transaction."""

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Final

from rekindle.daemon import errors
from rekindle.daemon.attempts.context import Context
from rekindle.daemon.attempts.stop import Stop
from rekindle.daemon.verdict import decision, outcome
from rekindle.daemon.verdict.decision import Damage, Verdict
from rekindle.daemon.verdict.outcome import Ending
from rekindle.daemon.verdict.saved import Saved
from rekindle.jobs import heartbeat, process
from rekindle.jobs.heartbeat import Beat
from rekindle.jobs.job import Job, RetryPolicy
from rekindle.state import crash_points
from rekindle.state.errors import SpecError
from rekindle.state.ledger.rows import AttemptRow, JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Run
from rekindle.state.run import reading, reserve, running_time, summary

_LONG_BYTES: Final = 256 * 2**10
"""More lines since the last summary of a journal are read in the background."""
_MESSAGE_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class _Facts:
    """Hold what the records of a run say about its latest attempt.

    Attributes:
        ending: None while a long journal is being read.
        damage: a record that cannot be used, or None.
        snapshot: the job runs a snapshot of its code.
    """

    ending: Ending | None
    policy: RetryPolicy
    damage: Damage | None
    snapshot: bool


class Settle:
    """Settle ended attempts."""

    def __init__(self, context: Context, stop: Stop) -> None:
        self._context = context
        self._stop = stop

    def settle_or_hold(self, job: JobRow, run: Run) -> None:
        """Settle an ended attempt; an unexpected error holds its job and no other."""
        try:
            self._settle(job, run)
        except Exception as error:
            if errors.is_transient(error):
                raise
            self._context.log.error("attempt_not_settled", job=job.id, exc_info=error)
            self._hold(job, error)

    def _hold(self, job: JobRow, error: Exception) -> None:
        ledger = self._context.ledger
        what, _ = errors.describe(error)
        now = time.time()
        with ledger.transaction():
            ledger.update_attempt(job.id, job.attempts, outcome="lost", cause="lost", ended_at=now)
            ledger.set_state(
                job.id,
                JobState.HELD,
                f"The end of its attempt cannot be evaluated: {what}",
                # the run directory must not be read again here: reading it is what failed
                hint="The daemon's log has the traceback. Then `rekindle release` resumes it.",
                now=now,
                wish=None,
            )

    def _settle(self, job: JobRow, run: Run) -> None:
        current = self._context.ledger.job(job.id)
        assert current is not None
        facts = self._find_facts(run, current.attempts)
        if facts.ending is None:
            return
        ending = self._context.escalation.correct(current, facts.ending)
        verdict = self._decide(current, run, facts, ending)
        crash_points.reached("before_settle")
        self._record(current, run, ending, verdict)
        crash_points.reached("settled")
        self._context.escalation.forget(job)
        self._context.leftovers.forget(job)
        self._context.witnessed.forget(job.id, current.attempts)
        log = self._context.log.bind(job=job.id, attempt=current.attempts)
        log.info(
            "attempt_ended",
            outcome=verdict.outcome,
            cause=verdict.cause,
            exit_code=ending.exit_code,
            signal=ending.signal,
        )
        log.info("job_state_changed", state=str(verdict.state), reason=verdict.reason)

    def _find_facts(self, run: Run, attempt: int) -> _Facts:
        policy, damage, snapshot = RetryPolicy(), None, False
        try:
            accepted = Job.read(run.job_file)
            policy, snapshot = accepted.retry, accepted.source is not None
        except (OSError, SpecError) as error:
            damage = Damage.of(run.job_file, error)
        try:
            ending = self._read_ending(run, attempt)
        except OSError as error:
            if errors.is_transient(error):
                raise
            ending = outcome.read((), attempt)
            damage = Damage.of(run.journal, error)
        return _Facts(ending, policy, damage, snapshot)

    def _read_ending(self, run: Run, attempt: int) -> Ending | None:
        """Read how an attempt ended from its journal; None while a long one is being read.

        Raises:
            OSError: the journal cannot be read.
        """
        reserved = reserve.take_over(run.reserve, run.journal)
        interrupted = self._context.witnessed.was_interrupted(run.id, attempt)

        def work() -> Ending:
            entries = (*summary.read(run).entries, *reserved)
            return outcome.read(entries, attempt, interrupted=interrupted)

        key = ("facts", run.id, attempt)
        if not self._context.background.knows(key):
            try:
                size = run.journal.stat().st_size
            except FileNotFoundError:
                size = 0
            if size <= _LONG_BYTES or size - summary.load(run).offset <= _LONG_BYTES:
                return work()
        answer = self._context.background.ask(key, work)
        ending: Ending | None = None if answer is None else answer.get()
        return ending

    def _decide(self, job: JobRow, run: Run, facts: _Facts, ending: Ending) -> Verdict:
        damage = facts.damage
        if not run.root.is_dir():
            verdict, damage = decision.gone(job.wish, job.failures, job.asked_by or ""), None
        else:
            spawned = self._context.witnessed.was_spawned(job.id, job.attempts)
            verdict = decision.decide(
                ending,
                policy=facts.policy,
                snapshot=facts.snapshot,
                failures=job.failures,
                stop_reason=job.wish,
                asked_by=job.asked_by or "",
                boot_id=process.boot_id(),
                daemon_stopping=self._stop.daemon_stopping,
                saved=Saved.of(self._context.ledger, job, run),
                keeper_message=_keeper_message(run) if spawned else None,
                job=job.id,
            )
        if damage is not None and verdict.state in (JobState.QUEUED, JobState.WAITING):
            verdict = decision.hold_damaged(verdict, damage, job.id)
        return decision.with_note(verdict, self._context.escalation.report(job))

    def _record(self, job: JobRow, run: Run, ending: Ending, verdict: Verdict) -> None:
        now = time.time()
        fields: dict[str, Any] = {}
        beat = heartbeat.read(run.heartbeat)
        if beat is not None and beat.attempt == job.attempts:
            fields = {"to_step": beat.step, "to_epoch": beat.epoch}
        ledger = self._context.ledger
        ended = now
        row = ledger.attempt(job.id, job.attempts)
        if row is not None and row.times is None and fields:
            fields["times"] = heartbeat.times_of(beat)
        if row is not None and row.seconds is None:
            # no record of its end, which may have been hours ago
            fields["seconds"], ended = _last_sign(run, row, beat, now)
        with ledger.transaction():
            ledger.update_attempt(
                job.id,
                job.attempts,
                outcome=verdict.outcome,
                cause=verdict.cause,
                exit_code=ending.exit_code,
                signal=ending.signal,
                ended_at=ended,
                **fields,
            )
            ledger.set_state(
                job.id,
                verdict.state,
                verdict.reason,
                hint=verdict.hint or None,
                now=now,
                next_at=now + verdict.delay if verdict.delay else None,
                failures=verdict.failures,
                wish=None,
            )


def _last_sign(run: Run, row: AttemptRow, beat: Beat | None, now: float) -> tuple[float, float]:
    """Return for how long an attempt is known to have run, and the time of its last sign."""
    signs = [row.started_at]
    if beat is not None and beat.attempt == row.n:
        signs.append(beat.at)
    seconds = running_time.read(run.running_time, row.n)
    if seconds is not None:
        with contextlib.suppress(OSError):
            signs.append(run.running_time.stat().st_mtime)
    # a clock that was set gives no time before the start or after now
    last = max(row.started_at, min(max(signs), now))
    return (last - row.started_at if seconds is None else seconds), last


def _keeper_message(run: Run) -> str:
    """Return the last line of the keeper's log, which is empty unless it failed."""
    try:
        lines = reading.read_bytes(run.keeper_log).decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:_MESSAGE_CHARS]

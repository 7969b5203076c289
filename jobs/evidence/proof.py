"""Proof of one stage: record each step, and compare those that a relaunch repeats.

The first attempt's entry of a step is the reference. Once a step differs, the run has deviated:
the entries of this attempt replace the earlier ones, later relaunches are compared with them, and
the run stays marked (``differed_in``).
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rekindle.jobs.evidence.comparison import Comparison, Gaps
from rekindle.jobs.evidence.earlier import EarlierProofs
from rekindle.jobs.evidence.state_digest import Parts, StateDigests, no_parts
from rekindle.jobs.evidence.step_record import Evidence, LogDigest, StepRecord
from rekindle.jobs.evidence.verdict import Log, Verdict
from rekindle.jobs.job import Job
from rekindle.state.paths import Run
from rekindle.state.run.checkpoints import Position


def open_record(run: Run, job: Job, scratches: int) -> StepRecord | None:
    """Open the record of a run; None if it is turned off or cannot be written.

    A changed seed, other code, `--allow-change` and `--from-scratch` empty it.

    Args:
        scratches: how often a start from scratch was requested.
    """
    if not job.checkpoint.prove_steps:
        return None
    code = job.new_code.after if job.new_code is not None else ""
    key = f"{job.seed} {code} {job.allow_change} {scratches}"
    with contextlib.suppress(OSError, ValueError):
        return StepRecord(run.step_record, hashlib.sha256(key.encode()).digest())
    return None


def make_proof(
    run: Run,
    job: Job,
    attempt: int,
    stage: int,
    earlier: EarlierProofs,
    log: Log,
    changes: list[str],
    parts: Callable[[], Parts] = no_parts,
) -> "Proof":
    """Make the proof of a stage, with the record of the run.

    Args:
        changes: changes from the previous attempt; more may be added.
        parts: returns the variables of the stage.
    """
    policy = job.checkpoint
    hold = policy.on_difference == "hold" and not earlier.accepted
    verdict = Verdict(log, job.id, attempt, stage, earlier.differed_in, changes, hold=hold)
    record = open_record(run, job, earlier.scratches)
    return Proof(record, stage, attempt, policy.prove_steps, verdict, StateDigests(parts))


class Proof:
    """Record and compare the steps of one stage; does nothing where the record is None.

    Args:
        least: repeated steps after which a first result is reported.
        verdict: reports results.
        states: digests the variables of the stage.
    """

    def __init__(
        self,
        record: StepRecord | None,
        stage: int,
        attempt: int,
        least: int,
        verdict: Verdict,
        states: StateDigests,
    ) -> None:
        self._record = record
        self._stage = stage
        self._attempt = attempt
        self._least = least
        self._verdict = verdict
        self._states = states
        self._digest = LogDigest()
        self._logs: Mapping[str, Any] = {}
        self._comparison: Comparison | None = None
        self._until = -1
        self._reported = 0
        self._newer: Position | None = None

    # beginning

    def begin(self, step: int) -> None:
        """Begin the stage: nothing was restored, so nothing is compared."""
        if self._record is not None:
            self._record.forget(self._stage)
            self._record.protect(step)

    def resume(
        self,
        step: int,
        epoch: int,
        epoch_step: int,
        checkpoint: str | None,
        repeated: int,
        *,
        changed: str | None,
        caveats: Callable[[], Iterable[str]],
        gaps: Gaps = tuple,
        newer: Position | None = None,
    ) -> None:
        """Resume the stage: the next steps are compared, up to the furthest recorded one.

        Args:
            epoch_step: batches trained in its epoch.
            repeated: steps that this attempt repeats, as far as known without a record.
            changed: why they are not comparable with the earlier ones; None if they are.
            caveats: returns what cannot be restored exactly, as text.
            gaps: returns what was not restored.
            newer: the checkpoint that was passed over.
        """
        record, verdict = self._record, self._verdict
        verdict.resumed(checkpoint, caveats, gaps)
        self._newer = newer
        if record is None:
            return
        if changed is not None:
            record.clear()
        record.protect(step)
        until = record.furthest(self._stage)
        if until > step:
            self._until = until
            self._comparison = Comparison(step, epoch, at_start=epoch_step == 0, gaps=gaps)
            verdict.expect(until - step)
        elif repeated:
            verdict.no_record(repeated, changed or "it is missing, damaged or was cleared")
        else:
            verdict.nothing_repeated()

    # steps

    def taken(self) -> None:
        """Digest the variables soon: a snapshot was taken, from which steps may be repeated."""
        if self._record is not None:
            self._states.want()

    def saved(self, step: int) -> None:
        """Keep the entries of the steps after a new checkpoint; not for that of the beginning."""
        if self._record is not None:
            self._record.protect(step)

    def note_logs(self, logs: Mapping[str, Any] | None) -> None:
        """Set the logs of the step or epoch that ends, before callbacks change them."""
        # a copy: callbacks add to the same dict, e.g. a time
        self._logs = dict(logs) if logs else {}

    def step(self, step: int, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record or compare a finished step.

        Args:
            step: batches trained in the whole run.
            logs: of the step; None for those that were set before.
        """
        record = self._record
        if record is None:
            return
        loss, crc = self._digest.of(self._logs if logs is None else logs)
        if step > self._until:
            if self._states.due(epoch):
                now = Evidence(self._stage, epoch, step, self._attempt, loss, crc)
                record.write(now.with_digest(self._states.take()))
            else:
                record.write_step(self._stage, epoch, step, self._attempt, loss, crc)
            return
        comparison = self._comparison
        assert comparison is not None
        if record.agrees(self._stage, step, crc):
            comparison.same(step, epoch)
        else:
            now = Evidence(self._stage, epoch, step, self._attempt, loss, crc)
            self._compare(record, comparison, now)
        if step >= self._until or comparison.steps >= self._least > self._reported:
            self._report()

    def _compare(self, record: StepRecord, comparison: Comparison, now: Evidence) -> None:
        was = record.step(self._stage, now.step)
        if was is not None and was.digest is not None:
            now = now.with_digest(self._states.take())
        if was is None:
            comparison.skip(now.step, now.epoch)
            record.write(now)
        elif not comparison.step(now, was):
            self._deviate(record, now)
            record.write(now)

    def epoch(self, step: int, epoch: int) -> None:
        """Record or compare the end of an epoch: all its logs, validation included."""
        record, comparison = self._record, self._comparison
        if record is None:
            return
        loss, logs = self._digest.of(self._logs)
        now = Evidence(self._stage, epoch, step, self._attempt, loss, logs)
        was = record.epoch(self._stage, epoch)
        if was is None or comparison is None or comparison.difference is not None:
            record.write_epoch(now)
        elif not comparison.epoch(now, was):
            self._deviate(record, now)
            record.write_epoch(now)
            self._report()
        elif step >= self._until:
            self._report()

    def finish(self) -> None:
        """Report what was compared until now, however the attempt ends."""
        self._report()

    def _deviate(self, record: StepRecord, now: Evidence) -> None:
        """Let this attempt be the reference from now on."""
        self._until = -1
        record.forget(self._stage, now.step - 1)

    def _report(self) -> None:
        if self._comparison is not None:
            self._reported = self._comparison.steps
            self._verdict.report(self._comparison)

    # holding

    def hold_if_different(self, epoch: int, step: int) -> bool:
        """Journal that the job is held for a difference; False if it is not."""
        if not self._verdict.must_hold():
            return False
        self._verdict.hold(epoch, step, self._newer)
        return True

"""Ingest the journals of attempts into the ledger, and log their entries."""

import time
from typing import Any, Final

from rekindle.daemon.attempts.context import Context
from rekindle.state import crash_points
from rekindle.state.ledger import ingest
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import ACTIVE, JobState
from rekindle.state.paths import Run
from rekindle.state.run import journal, summary
from rekindle.state.run.journal import Replay
from rekindle.state.run.summary import Summary

_SAVE_EVERY_BYTES: Final = 2**20
"""Lines that a restarted daemon may have to read again, in bytes."""
_NOT_METRICS = ("epoch", "step", "event")


class JournalReader:
    """Ingest new journal entries of jobs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._summaries: dict[str, Summary] = {}
        self._saved: dict[str, int] = {}

    def read(self, job: JobRow, most: int = -1) -> bool:
        """Ingest new entries of a job into the ledger; True if all were read.

        Args:
            most: bytes to read; -1 for all.
        """
        run = self._context.home.run(job.id)
        ledger = self._context.ledger
        start = self._start(job, run)
        replay = journal.replay(run.journal, start, most=most)
        if replay.offset == job.journal_offset:
            return True
        with ledger.transaction():
            ledger.ingest(job.id, replay.entries, replay.offset)
            for entry in replay.entries:
                if entry["kind"] == "attempt_started":
                    self._set_running(job, entry["attempt"])
        crash_points.reached("journal_ingested")
        if job.state in ACTIVE:
            self._summarise(run, start, replay)
        if replay.torn:
            self._context.log.warning("journal_lines_torn", job=job.id, lines=replay.torn)
        for entry in replay.entries:
            self._log(job, entry)
        return most < 0 or replay.offset - start < most

    def _start(self, job: JobRow, run: Run) -> int:
        """Return where to read on: at the beginning of a journal that was cut or replaced."""
        try:
            size = run.journal.stat().st_size
        except FileNotFoundError:
            return job.journal_offset
        if size >= job.journal_offset:
            return job.journal_offset
        about = {"bytes": size, "bytes_before": job.journal_offset}
        self._context.log.warning("journal_cut", job=job.id, **about)
        self._context.ledger.add_event("journal_cut", job=job.id, data=about)
        self._summaries.pop(job.id, None)
        return 0

    def save_summary(self, job_id: str) -> None:
        """Save the summary of a job whose attempt has ended, so that the rest is short to read."""
        known, saved = self._summaries.pop(job_id, None), self._saved.pop(job_id, 0)
        if known is not None and known.offset > saved:
            summary.save(known, self._context.home.run(job_id))

    def _summarise(self, run: Run, before: int, replay: Replay) -> None:
        """Summarise what was ingested: the end of the attempt must not read all of it again."""
        known = self._summaries.get(run.id)
        if known is None:
            known = self._summaries[run.id] = summary.load(run)
            self._saved[run.id] = known.offset
        if known.offset == before:
            known.take(replay.entries, replay.offset)
        elif known.offset < replay.offset <= known.offset + summary.CHUNK_BYTES:
            known.read_on(run.journal)
        # else a keeper has summarised more already, or nobody has: the end reads it in a thread
        if known.offset - self._saved[run.id] > _SAVE_EVERY_BYTES:
            self._saved[run.id] = known.offset
            summary.save(known, run)

    def _set_running(self, job: JobRow, attempt: int) -> None:
        ledger = self._context.ledger
        current = ledger.job(job.id)
        if (
            current is not None
            and current.state == JobState.STARTING
            and current.attempts == attempt
        ):
            row = ledger.attempt(job.id, attempt)
            ledger.set_state(
                job.id,
                JobState.RUNNING,
                ingest.running(attempt, row.unfollowed if row is not None else None),
                now=time.time(),
            )

    def _log(self, job: JobRow, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        log = self._context.log.bind(job=job.id, attempt=entry.get("attempt"))
        if kind == "warned" and entry.get("unfollowed") is True:
            log.error("training_not_followed", message=entry.get("message"))
        elif kind == "resumed":
            log.info(
                "training_resumed" if entry.get("checkpoint") else "training_began",
                epoch=entry.get("epoch"),
                step=entry.get("step"),
                checkpoint=entry.get("checkpoint"),
                repeated_steps=entry.get("lost_steps"),
            )
        elif kind == "epoch_ended":
            log.info(
                "epoch_ended",
                epoch=entry.get("epoch"),
                step=entry.get("step"),
                **{
                    k: round(v, 4)
                    for k, v in entry.get("logs", {}).items()
                    if isinstance(v, int | float) and k not in _NOT_METRICS
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

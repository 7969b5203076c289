"""Ingest the journals of attempts into the ledger, and log their entries."""

import time
from typing import Any

from rekindle.daemon.attempts.context import Context
from rekindle.state import crash_points
from rekindle.state.ledger import ingest
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import JobState
from rekindle.state.run import journal

_NOT_METRICS = ("epoch", "step", "event")


class JournalReader:
    """Ingest new journal entries of jobs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def read(self, job: JobRow, most: int = -1) -> bool:
        """Ingest new entries of a job into the ledger; True if all were read.

        Args:
            most: bytes to read; -1 for all.
        """
        run = self._context.home.run(job.id)
        ledger = self._context.ledger
        replay = journal.replay(run.journal, job.journal_offset, most=most)
        if replay.offset == job.journal_offset:
            return True
        with ledger.transaction():
            ledger.ingest(job.id, replay.entries, replay.offset)
            for entry in replay.entries:
                if entry["kind"] == "attempt_started":
                    self._set_running(job, entry["attempt"])
        crash_points.reached("journal_ingested")
        if replay.torn:
            self._context.log.warning("journal_lines_torn", job=job.id, lines=replay.torn)
        for entry in replay.entries:
            self._log(job, entry)
        return most < 0 or replay.offset - job.journal_offset < most

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

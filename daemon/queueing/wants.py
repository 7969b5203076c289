"""Read from accepted specs what jobs ask of the queue."""

from dataclasses import dataclass
from typing import Final

from rekindle.jobs.job import Job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow

_NOT_WORTH_A_START_S: Final = 2.0
"""A shorter attempt would end before it had imported its libraries."""


def is_used_up(max_runtime: float, ran: float) -> bool:
    """Return whether a job that ran for some time (seconds) has too little left for an attempt."""
    return ran >= max_runtime - _NOT_WORTH_A_START_S


@dataclass(frozen=True, slots=True)
class Wants:
    """State what a spec asks of the queue."""

    gpus: int | None = None
    window: str | None = None
    max_runtime: float | None = None
    after: tuple[str, ...] = ()


class WantsReader:
    """Read the accepted spec of each job once, and again after `forget`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, Wants] = {}

    def of(self, job: JobRow) -> Wants:
        """Return what a job asks for.

        Raises:
            SpecError: its accepted spec cannot be read.
        """
        known = self._known.get(job.id)
        if known is None:
            accepted = Job.from_json(self._ledger.spec_text(job.id))
            known = self._known[job.id] = Wants(
                accepted.resources.gpus,
                accepted.limits.window,
                accepted.limits.max_runtime,
                tuple(accepted.after),
            )
        return known

    def forget(self, job_id: str) -> None:
        """Forget a job's spec, which a person may have changed."""
        self._known.pop(job_id, None)

"""Read what specs ask of the queue."""

from dataclasses import dataclass

from rekindle.jobs.job import Job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow


@dataclass(frozen=True, slots=True)
class Wants:
    """State what a spec asks of the queue."""

    gpus: int | None = None
    window: str | None = None
    max_runtime: float | None = None
    after: tuple[str, ...] = ()


class WantsReader:
    """Read the accepted spec of each job once, until it may have changed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, Wants] = {}

    def of(self, job: JobRow) -> Wants:
        """Give what a job asks for.

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
        """Drop what is known of a job: a person may have changed its spec."""
        self._known.pop(job_id, None)

"""Index which jobs wait for which by `after`, to evaluate them again when one changes."""

from rekindle.daemon.queueing import dependencies
from rekindle.daemon.queueing.dependencies import Answer, Need
from rekindle.daemon.queueing.wants import WantsReader
from rekindle.state.errors import SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.ledger.rows import JobRow
from rekindle.state.lifecycle import WAITS, JobState

_JUDGED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.HELD})
"""States of a job that make a difference to those that wait for it."""


class DependencyIndex:
    """Index waiting jobs by the jobs that they wait for."""

    def __init__(self, ledger: Ledger, wants: WantsReader) -> None:
        self._ledger = ledger
        self._wants = wants
        self._dependents: dict[str, set[str]] = {}  # by id, or by name while there is no such job
        self._registered: dict[str, set[str]] = {}
        self._judged: dict[str, JobState | None] = {}
        self._cycles = dependencies.Cycles(self._may_wait_for)

    def judge(self, job: JobRow, after: tuple[str, ...]) -> Answer:
        """Decide whether a job's needs are met; register it with the jobs that it waits for."""
        needs = self._needs(job, after)
        # registered by id if there is one: by name, all jobs of a series would be visited each time
        self._register(job.id, {need.id or need.named for need in needs})
        answer = dependencies.judge(job.id, needs)
        if not answer.reason or answer.broken or not self._cycles.contain(job.id):
            return answer
        path = dependencies.cycle(job.id, self._waits_for)
        if not path:
            return answer
        return Answer(
            f"It waits for itself: {' waits for '.join(path)}.",
            "Cancel one of them, correct its `after` and submit it again.",
            broken=True,
        )

    def affected(self, job: JobRow) -> set[str]:
        """List the jobs to evaluate again since this one may have changed.

        Those that wait for a job do not distinguish whether it is queued, runs or stops: ten
        thousand of them are not evaluated again at each of its starts.
        """
        judged = job.state if job.state in _JUDGED else None
        if job.id in self._judged and self._judged[job.id] == judged:
            return set()
        self._judged[job.id] = judged
        return {other for name in (job.id, job.name) for other in self._dependents.get(name, ())}

    def unregister(self, job_id: str) -> None:
        """Forget what a job waits for."""
        self._register(job_id, set())

    def drop(self, job_id: str) -> None:
        """Forget a job that has begun: it never waits for others again."""
        self._cycles.drop(job_id)

    def _register(self, job_id: str, under: set[str]) -> None:
        for other in self._registered.pop(job_id, ()):
            self._dependents[other].discard(job_id)
            if not self._dependents[other]:
                del self._dependents[other]
        if under:
            self._registered[job_id] = under
        for other in under:
            self._dependents.setdefault(other, set()).add(job_id)

    def _needs(self, job: JobRow, after: tuple[str, ...]) -> list[Need]:
        needs = []
        for named in after:
            found = self._ledger.named_for(job, named)
            if found is not None:
                needs.append(Need(named, found.id, found.state))
            elif named != job.name:  # the first of a series has none before it
                needs.append(Need(named))
        return needs

    def _waits_for(self, job_id: str) -> list[str]:
        """List the ids that a job waits for; none if it has begun."""
        job = self._ledger.job(job_id)
        if job is None or job.attempts or job.state not in WAITS:
            return []
        return [
            need.id
            for need in self._needs(job, self._after(job))
            if need.id is not None and need.state != JobState.DONE
        ]

    def _may_wait_for(self, job_id: str) -> list[str]:
        """List the ids that a job would wait for if it were queued; none if it has begun."""
        job = self._ledger.job(job_id)
        if job is None or job.attempts:
            return []
        found = [self._ledger.named_for(job, named) for named in self._after(job)]
        return [one.id for one in found if one is not None and not one.attempts]

    def _after(self, job: JobRow) -> tuple[str, ...]:
        try:
            return self._wants.of(job).after
        except SpecError:
            return ()  # evaluated for another job here; its own evaluation holds it

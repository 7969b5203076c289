"""Decide what a job waits for by `after`: pure, from the states of the other jobs."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from rekindle.state.lifecycle import JobState


@dataclass(frozen=True, slots=True)
class Need:
    """Describe an entry of ``after``.

    Attributes:
        named: the job's id or name as in the spec.
        id: id of the job that it means, None while there is none.
    """

    named: str
    id: str | None = None
    state: JobState | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """State whether a job may start; ``reason`` is empty if it may.

    Attributes:
        broken: the need can never be met without a person: the job is held.
    """

    reason: str = ""
    hint: str = ""
    broken: bool = False


def judge(job_id: str, needs: Iterable[Need]) -> Answer:
    """Decide whether the needs of ``job_id`` are met.

    A broken need is reported before a missing one, and that before a pending one: a person must
    act on the first.
    """
    unmet = [need for need in needs if need.state != JobState.DONE]
    for need in unmet:
        if need.state in (JobState.FAILED, JobState.CANCELLED):
            how = "failed" if need.state == JobState.FAILED else "was cancelled"
            return Answer(
                f"{need.id}, which it waits for, {how}.",
                f"`rekindle retry {need.id}`, then `rekindle release {job_id}`.",
                broken=True,
            )
    for need in unmet:
        if need.id is None:
            return Answer(
                f"It waits for {need.named}, and there is no such job.",
                f"Submit {need.named}, or cancel this job and correct its `after`.",
            )
    for need in unmet:
        if need.state == JobState.HELD:
            return Answer(
                f"It waits for {need.id}, which is held.", f"`rekindle show {need.id}` says why."
            )
    if unmet:
        return Answer(f"It waits for {', '.join(str(need.id) for need in unmet)}.")
    return Answer()


def cycle(start: str, edges: Callable[[str], Collection[str]]) -> list[str]:
    """Find a path from a job back to itself along the jobs that each waits for; empty if none.

    Args:
        edges: returns the ids that a job still waits for.
    """
    came_from: dict[str, str] = {}
    todo = [start]
    while todo:
        here = todo.pop()
        for there in edges(here):
            if there == start:
                path = [start, here] if here != start else [start]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return [*reversed(path)] if len(path) > 1 else [start, start]
            if there not in came_from:
                came_from[there] = here
                todo.append(there)
    return []


class Cycles:
    """Remember which jobs may be part of a cycle, so that each job is visited once.

    The results are valid while no job waits for one that it did not wait for before. `contain`
    must be called for a job that does: it then drops all results. If several jobs changed at
    once, at least one of them is found in each new cycle.

    Args:
        edges: returns the ids that a job waits for or, if it is held or has ended, may wait for
            again: a job that is held now must not make the jobs before it look free.
    """

    def __init__(self, edges: Callable[[str], Collection[str]]) -> None:
        self._edges = edges
        self._known: dict[str, tuple[frozenset[str], bool]] = {}

    def contain(self, job_id: str) -> bool:
        """Return whether a job is part of a cycle, or was part of one that has broken since."""
        edges = frozenset(self._edges(job_id))
        if job_id in self._known and not edges <= self._known[job_id][0]:
            self._known.clear()
        if job_id not in self._known:
            self._walk(job_id)
        return self._known[job_id][1]

    def drop(self, job_id: str) -> None:
        """Forget a job that will never wait again."""
        self._known.pop(job_id, None)

    def _walk(self, start: str) -> None:
        """Run Tarjan's strongly connected components algorithm (1972) up to known jobs."""
        edges: dict[str, frozenset[str]] = {}
        entered: dict[str, int] = {}
        back: dict[str, int] = {}
        path: list[str] = []
        todo: list[tuple[str, Iterator[str]]] = []

        def enter(job_id: str) -> None:
            edges[job_id] = frozenset(self._edges(job_id))
            entered[job_id] = back[job_id] = len(entered)
            path.append(job_id)
            todo.append((job_id, iter(edges[job_id])))

        enter(start)
        while todo:
            here, unvisited = todo[-1]
            there = next((one for one in unvisited if one not in self._known), None)
            if there is not None and there not in entered:
                enter(there)
            elif there is not None:
                back[here] = min(back[here], entered[there])
            else:
                todo.pop()
                if todo:
                    back[todo[-1][0]] = min(back[todo[-1][0]], back[here])
                if back[here] == entered[here]:
                    component = [path.pop()]
                    while component[-1] != here:
                        component.append(path.pop())
                    is_cycle = len(component) > 1 or here in edges[here]
                    self._known |= {one: (edges[one], is_cycle) for one in component}

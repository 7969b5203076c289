"""Decide what a job waits for by `after`: pure, from where the others stand."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from rekindle.state.lifecycle import JobState


@dataclass(frozen=True, slots=True)
class Need:
    """Describe an entry of ``after``.

    Attributes:
        named: as the spec says it, a job's id or name.
        id: the job that it means, None while there is none.
    """

    named: str
    id: str | None = None
    state: JobState | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """State whether a job may start. ``reason`` is empty where nothing stands in the way.

    Attributes:
        broken: it can never come true by itself: the job is held.
    """

    reason: str = ""
    hint: str = ""
    broken: bool = False


def judge(job_id: str, needs: Iterable[Need]) -> Answer:
    """Decide whether what ``job_id`` waits for has come.

    Broken before missing before pending: the one that a person must act on is reported.
    """
    left = [need for need in needs if need.state != JobState.DONE]
    for need in left:
        if need.state in (JobState.FAILED, JobState.CANCELLED):
            how = "failed" if need.state == JobState.FAILED else "was cancelled"
            return Answer(
                f"{need.id}, which it waits for, {how}.",
                f"`rekindle retry {need.id}`, then `rekindle release {job_id}`.",
                broken=True,
            )
    for need in left:
        if need.id is None:
            return Answer(
                f"It waits for {need.named}, and there is no such job.",
                f"Submit {need.named}, or cancel this job and correct its `after`.",
            )
    for need in left:
        if need.state == JobState.HELD:
            return Answer(
                f"It waits for {need.id}, which is held.", f"`rekindle show {need.id}` says why."
            )
    if left:
        return Answer(f"It waits for {', '.join(str(need.id) for need in left)}.")
    return Answer()


def cycle(start: str, edges: Callable[[str], Collection[str]]) -> list[str]:
    """Find the way from a job back to itself along what each waits for; empty where there is none.

    Args:
        edges: the ids that a job still waits for.
    """
    came_from: dict[str, str] = {}
    todo = [start]
    while todo:
        here = todo.pop()
        for there in edges(here):
            if there == start:
                way = [start, here] if here != start else [start]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return [*reversed(way)] if len(way) > 1 else [start, start]
            if there not in came_from:
                came_from[there] = here
                todo.append(there)
    return []


class Circles:
    """Know which jobs may stand in a circle; each is walked through once, however often one asks.

    What is known holds as long as no job waits for one that it did not wait for before. A job
    of which that is true must be asked about: only then it is seen, and all is forgotten. Of
    several that changed at once, one at least is then found in each new circle.

    Args:
        edges: the ids that a job waits for or, where it is held or has ended, may wait for
            again: a job that only stands still for now must not make others look free.
    """

    def __init__(self, edges: Callable[[str], Collection[str]]) -> None:
        self._edges = edges
        self._known: dict[str, tuple[frozenset[str], bool]] = {}

    def hold(self, job_id: str) -> bool:
        """Tell whether a job stands in a circle, or stood in one that has broken since."""
        edges = frozenset(self._edges(job_id))
        if job_id in self._known and not edges <= self._known[job_id][0]:
            self._known.clear()
        if job_id not in self._known:
            self._walk(job_id)
        return self._known[job_id][1]

    def drop(self, job_id: str) -> None:
        """Forget a job that never waits again."""
        self._known.pop(job_id, None)

    def _walk(self, start: str) -> None:
        """Run Tarjan's strongly connected components (1972), up to what is known already."""
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
            here, left = todo[-1]
            there = next((one for one in left if one not in self._known), None)
            if there is not None and there not in entered:
                enter(there)
            elif there is not None:
                back[here] = min(back[here], entered[there])
            else:
                todo.pop()
                if todo:
                    back[todo[-1][0]] = min(back[todo[-1][0]], back[here])
                if back[here] == entered[here]:
                    circle = [path.pop()]
                    while circle[-1] != here:
                        circle.append(path.pop())
                    stands = len(circle) > 1 or here in edges[here]
                    self._known |= {one: (edges[one], stands) for one in circle}

"""What a job waits for by `after`: pure, from where the others stand."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from rekindle.state.lifecycle import JobState


@dataclass(frozen=True, slots=True)
class Need:
    """One entry of ``after``.

    Attributes:
        named: as the spec says it, a job's id or name.
        id: the job that it means, None while there is none.
    """

    named: str
    id: str | None = None
    state: JobState | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a job may start. ``reason`` is empty where nothing stands in the way.

    Attributes:
        broken: it can never come true by itself: the job is held.
    """

    reason: str = ""
    hint: str = ""
    broken: bool = False


def judge(job_id: str, needs: Iterable[Need]) -> Answer:
    """Whether what ``job_id`` waits for is there.

    Broken before missing before pending: the one that a person must act on is told.
    """
    left = [need for need in needs if need.state != JobState.DONE]
    for need in left:
        if need.state in (JobState.FAILED, JobState.CANCELLED):
            how = "failed" if need.state == JobState.FAILED else "was cancelled"
            return Answer(
                f"{need.id}, which it waits for, {how}.",
                f"`rekindle retry {need.id}`, then `rekindle release {job_id}`.", broken=True)
    for need in left:
        if need.id is None:
            return Answer(
                f"It waits for {need.named}, and there is no such job.",
                f"Submit {need.named}, or cancel this job and mend its `after`.")
    for need in left:
        if need.state == JobState.HELD:
            return Answer(f"It waits for {need.id}, which is held.",
                          f"`rekindle show {need.id}` says why.")
    if left:
        return Answer(f"It waits for {', '.join(str(need.id) for need in left)}.")
    return Answer()


def cycle(start: str, edges: Callable[[str], Collection[str]]) -> list[str]:
    """The way from a job back to itself along what each waits for; empty where there is none.

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

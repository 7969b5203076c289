"""Decide which job runs next: pure and incremental, from plain data and a time.

The order is priority, then arrival. Jobs with equal needs are in one *lane*; only the heads of
the lanes are compared, so that a decision costs O(log n) in the number of jobs.

If the first GPU job in order needs more GPUs than are free, no other GPU job overtakes it, and
GPUs that become free are left to it: otherwise a wide job would starve behind narrow ones. A
lane that cannot run now (its window is closed, too many GPUs are set aside, its user has enough)
blocks no other.
"""

import heapq
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

MIN_BETWEEN_STARTS_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Describe a job that wants to run.

    Attributes:
        arrival: rank of arrival; the smaller came first.
        gpus: how many it needs at once; 0 for a CPU slot.
        window: times of day in which it may run, e.g. ``"22:00-07:00"``, None for always.
        not_before: the earliest start, on the clock of ``choose``.
        user: whose limits it counts for; None where there are none.
    """

    id: str
    priority: int
    arrival: tuple[float, int]
    gpus: int = 0
    window: str | None = None
    not_before: float | None = None
    user: str | None = None

    @property
    def rank(self) -> tuple[int, tuple[float, int], str]:
        """Rank in the order: smaller is first; unique for each job."""
        return (-self.priority, self.arrival, self.id)


@dataclass(frozen=True, slots=True)
class Room:
    """State which resources can be allocated now.

    Attributes:
        slots: free CPU slots.
        gpus: GPUs that can be allocated now.
        reclaimable: GPUs that are free or become free when our attempts end.
    """

    slots: int
    gpus: int = 0
    reclaimable: int = 0


class Lane(NamedTuple):
    """State the needs that all jobs of one lane share."""

    gpus: int
    window: str | None
    user: str | None = None


class _Line:
    """Order the jobs of one lane in a heap; removed jobs are skipped when they reach its top."""

    __slots__ = ("heap", "ids")

    def __init__(self) -> None:
        self.heap: list[tuple[tuple[int, tuple[float, int], str], int]] = []
        self.ids: set[str] = set()


class Scheduler:
    """Order the jobs of one host that are to run. No clock, no I/O: each call is deterministic."""

    def __init__(self) -> None:
        self._jobs: dict[str, Candidate] = {}
        self._version: dict[str, int] = {}
        self._puts = 0
        self._timed: list[tuple[float, int, str]] = []
        self._lines: dict[Lane, _Line] = {}
        self._fresh: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def put(self, candidate: Candidate) -> None:
        """Add a job, or replace its previous entry."""
        if self._jobs.get(candidate.id) == candidate:
            return
        self.remove(candidate.id)
        self._puts += 1
        self._jobs[candidate.id] = candidate
        self._version[candidate.id] = self._puts
        if candidate.not_before is None:
            self._line_up(candidate)
        else:
            heapq.heappush(self._timed, (candidate.not_before, self._puts, candidate.id))
            if len(self._timed) > 2 * len(self._jobs) + 64:
                self._timed = [entry for entry in self._timed if self._valid(entry[1], entry[2])]
                heapq.heapify(self._timed)

    def remove(self, job_id: str) -> None:
        """Remove a job, if it is known."""
        candidate = self._jobs.pop(job_id, None)
        if candidate is None:
            return
        del self._version[job_id]
        lane = _lane(candidate)
        line = self._lines.get(lane)
        if line is None or job_id not in line.ids:
            return
        line.ids.discard(job_id)
        self._fresh.discard(job_id)
        if not line.ids:
            del self._lines[lane]
        elif len(line.heap) > 2 * len(line.ids) + 64:
            line.heap[:] = [entry for entry in line.heap if self._valid(entry[1], entry[0][2])]
            heapq.heapify(line.heap)

    def choose(
        self,
        now: float,
        room: Room,
        is_open: Callable[[str], bool],
        has_to_wait: Callable[[Lane], object] = lambda lane: False,
    ) -> Candidate | None:
        """Choose the next job to start; None if there is none, or no room for it.

        Args:
            now: on the clock of ``not_before``.
            is_open: returns whether a window is open now.
            has_to_wait: returns whether a lane may not start a job now, whatever is free.
        """
        self._let_in(now)
        cpu: Candidate | None = None
        gpu: Candidate | None = None
        for lane, line in self._lines.items():
            if lane.gpus > room.reclaimable or (
                lane.window is not None and not is_open(lane.window)
            ):
                continue
            if has_to_wait(lane):
                continue
            head = self._head(line)
            if lane.gpus == 0 and (cpu is None or head.rank < cpu.rank):
                cpu = head
            elif lane.gpus > 0 and (gpu is None or head.rank < gpu.rank):
                gpu = head
        if room.slots < 1:
            cpu = None
        if gpu is not None and gpu.gpus > room.gpus:
            gpu = None
        if cpu is None or gpu is None:
            return cpu or gpu
        return min(cpu, gpu, key=lambda one: one.rank)

    def lanes(self) -> Iterator[tuple[Lane, AbstractSet[str]]]:
        """Iterate over all lanes with the ids of the jobs in them."""
        return ((lane, line.ids) for lane, line in self._lines.items())

    def take_fresh(self) -> set[str]:
        """Take the ids of the jobs that entered a lane since the last call."""
        taken, self._fresh = self._fresh, set()
        return taken

    @property
    def has_fresh(self) -> bool:
        return bool(self._fresh)

    def timed(self) -> int:
        """Count the jobs that wait for a time."""
        return len(self._jobs) - sum(len(line.ids) for line in self._lines.values())

    def _let_in(self, now: float) -> None:
        while self._timed and self._timed[0][0] <= now:
            _, version, job_id = heapq.heappop(self._timed)
            if self._valid(version, job_id):
                self._line_up(self._jobs[job_id])

    def _line_up(self, candidate: Candidate) -> None:
        line = self._lines.setdefault(_lane(candidate), _Line())
        line.ids.add(candidate.id)
        self._fresh.add(candidate.id)
        heapq.heappush(line.heap, (candidate.rank, self._version[candidate.id]))

    def _head(self, line: _Line) -> Candidate:
        """Find the first job of a lane that is not empty."""
        while True:
            rank, version = line.heap[0]
            if self._valid(version, rank[2]):
                return self._jobs[rank[2]]
            heapq.heappop(line.heap)

    def _valid(self, version: int, job_id: str) -> bool:
        return self._version.get(job_id) == version


def _lane(candidate: Candidate) -> Lane:
    return Lane(candidate.gpus, candidate.window, candidate.user)

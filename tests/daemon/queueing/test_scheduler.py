"""The scheduler's promises, against a naive one that sorts everything each time."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rekindle.daemon.queueing.scheduler import Candidate, Room, Scheduler

USERS = ("ana", "ben")
WINDOWS = ("22:00-07:00", "12:00-13:00")
candidates = st.builds(
    Candidate,
    id=st.integers(0, 30).map(lambda n: f"job-{n}"),
    priority=st.integers(-2, 2),
    arrival=st.tuples(st.integers(0, 9).map(float), st.integers(0, 99)),
    gpus=st.sampled_from([0, 0, 1, 1, 2, 4, 8]),
    window=st.sampled_from([None, None, *WINDOWS]),
    not_before=st.none() | st.floats(0, 100, allow_nan=False),
    user=st.sampled_from([None, *USERS]),
)


def naive(
    jobs: dict[str, Candidate],
    due: set[str],
    room: Room,
    opened: set[str],
    limited: AbstractSet[str] = frozenset(),
) -> Candidate | None:
    """The same policy in the words of the document: sort, look at the first of each kind."""
    ready = sorted(
        (
            job
            for job in jobs.values()
            if job.id in due
            and (job.window is None or job.window in opened)
            and job.user not in limited
        ),
        key=lambda job: job.rank,
    )
    cpu = [job for job in ready if job.gpus == 0][:1] if room.slots else []
    gpu = [job for job in ready if 0 < job.gpus <= room.reclaimable][:1]
    firsts = cpu + [job for job in gpu if job.gpus <= room.gpus]
    return min(firsts, key=lambda job: job.rank, default=None)


class AgainstTheNaiveOne(RuleBasedStateMachine):
    """Any sequence of changes and questions is answered as sorting everything would."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        self.jobs: dict[str, Candidate] = {}
        self.due: set[str] = set()
        self.now = 0.0

    @rule(candidate=candidates)
    def put(self, candidate: Candidate) -> None:
        if self.jobs.get(candidate.id) == candidate:
            return
        self.scheduler.put(candidate)
        self.jobs[candidate.id] = candidate
        self.due.discard(candidate.id)
        if candidate.not_before is None:
            self.due.add(candidate.id)

    @rule(number=st.integers(0, 30))
    def remove(self, number: int) -> None:
        self.scheduler.remove(f"job-{number}")
        self.jobs.pop(f"job-{number}", None)
        self.due.discard(f"job-{number}")

    @rule(
        later=st.floats(0, 30),
        slots=st.integers(0, 2),
        gpus=st.integers(0, 4),
        more=st.integers(0, 8),
        opened=st.sets(st.sampled_from(WINDOWS)),
        limited=st.sets(st.sampled_from(USERS)),
        start=st.booleans(),
    )
    def choose(
        self,
        later: float,
        slots: int,
        gpus: int,
        more: int,
        opened: set[str],
        limited: set[str],
        start: bool,
    ) -> None:
        self.now += later
        self.due |= {
            job.id
            for job in self.jobs.values()
            if job.not_before is not None and job.not_before <= self.now
        }
        room = Room(slots, gpus, gpus + more)
        expected = naive(self.jobs, self.due, room, opened, limited)
        found = self.scheduler.choose(
            self.now, room, opened.__contains__, lambda lane: lane.user in limited
        )
        assert found == expected
        if start and expected is not None:
            self.remove(int(expected.id.partition("-")[2]))

    @invariant()
    def it_knows_each_job_once(self) -> None:
        assert len(self.scheduler) == len(self.jobs)
        lined_up = [job_id for _, ids in self.scheduler.lanes() for job_id in ids]
        assert len(lined_up) == len(set(lined_up))
        assert set(lined_up) | {*self.scheduler} == set(self.jobs)
        for lane, ids in self.scheduler.lanes():
            found = {(one.gpus, one.window, one.user) for one in map(self.jobs.__getitem__, ids)}
            assert found == {tuple(lane)}


AgainstTheNaiveOne.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestAgainstTheNaiveOne = AgainstTheNaiveOne.TestCase

jobs_of_a_night = st.lists(
    st.tuples(st.integers(-1, 1), st.sampled_from([0, 1, 1, 2, 4]), st.integers(1, 5)),
    min_size=1,
    max_size=40,
)


def night(jobs: list[tuple[int, int, int]], slots: int, gpus: int) -> list[tuple[float, str]]:
    """Runs (priority, gpus, ticks) jobs to their end; returns the starts, checking capacity."""
    scheduler = Scheduler()
    known: dict[str, tuple[int, int]] = {}
    for n, (priority, wanted, ticks) in enumerate(jobs):
        scheduler.put(Candidate(f"job-{n}", priority, (float(n), n), wanted))
        known[f"job-{n}"] = (wanted, ticks)
    ends: dict[str, float] = {}
    starts = []
    for now in range(10_000):
        ends = {job: end for job, end in ends.items() if end > now}
        while True:
            used = sum(known[job][0] for job in ends)
            room = Room(slots - sum(known[job][0] == 0 for job in ends), gpus - used, gpus)
            assert room.slots >= 0
            assert room.gpus >= 0
            chosen = scheduler.choose(now, room, lambda window: True)
            if chosen is None:
                break
            scheduler.remove(chosen.id)
            ends[chosen.id] = now + known[chosen.id][1]
            starts.append((float(now), chosen.id))
        if not ends and not len(scheduler):
            return starts
    raise AssertionError(f"{len(scheduler)} jobs starved")


@given(jobs_of_a_night, st.integers(1, 3), st.integers(4, 8))
@settings(max_examples=100, deadline=None)
def test_every_job_starts_once_and_the_box_is_never_over_capacity(
    jobs: list[tuple[int, int, int]], slots: int, gpus: int
) -> None:
    """Nobody starves, the widest job included; nothing starts twice."""
    starts = night(jobs, slots, gpus)
    assert sorted(job for _, job in starts) == sorted(f"job-{n}" for n in range(len(jobs)))


@given(jobs_of_a_night, st.integers(1, 3), st.integers(4, 8))
@settings(max_examples=100, deadline=None)
def test_within_a_kind_the_starts_are_in_order_of_priority_and_arrival(
    jobs: list[tuple[int, int, int]], slots: int, gpus: int
) -> None:
    """FIFO within a priority, and a higher priority first, whatever the widths are."""
    starts = [int(job.partition("-")[2]) for _, job in night(jobs, slots, gpus)]
    for gpu_jobs in (True, False):
        order = [n for n in starts if (jobs[n][1] > 0) == gpu_jobs]
        assert order == sorted(order, key=lambda n: (-jobs[n][0], n))


@given(jobs_of_a_night, st.integers(1, 3), st.integers(4, 8))
@settings(max_examples=30, deadline=None)
def test_the_same_jobs_start_in_the_same_order(
    jobs: list[tuple[int, int, int]], slots: int, gpus: int
) -> None:
    """No decision hangs on a hash or a clock."""
    assert night(jobs, slots, gpus) == night(jobs, slots, gpus)


def test_a_wide_job_is_not_overtaken_by_narrow_ones_behind_it() -> None:
    """GPUs that become free are left to it; CPU jobs go on."""
    scheduler = Scheduler()
    scheduler.put(Candidate("wide", 0, (1, 1), gpus=4))
    scheduler.put(Candidate("narrow", 0, (2, 2), gpus=1))
    scheduler.put(Candidate("cpu", 0, (3, 3)))
    first = scheduler.choose(0, Room(slots=1, gpus=3, reclaimable=4), lambda window: True)
    assert first is not None
    assert first.id == "cpu"
    scheduler.remove("cpu")
    assert scheduler.choose(0, Room(1, 3, 4), lambda window: True) is None
    chosen = scheduler.choose(0, Room(1, 4, 4), lambda window: True)
    assert chosen is not None
    assert chosen.id == "wide"


def test_what_cannot_be_had_holds_nobody_back() -> None:
    """GPUs that are set aside, or a window that is closed, block only who needs them."""
    scheduler = Scheduler()
    scheduler.put(Candidate("wide", 5, (1, 1), gpus=4))
    scheduler.put(Candidate("night", 5, (2, 2), gpus=1, window=WINDOWS[0]))
    scheduler.put(Candidate("narrow", 0, (3, 3), gpus=1))
    chosen = scheduler.choose(0, Room(1, 2, reclaimable=2), lambda window: False)
    assert chosen is not None
    assert chosen.id == "narrow"


def test_a_job_is_told_as_fresh_once_each_time_it_comes_into_a_lane() -> None:
    """Its reason is then written once, and not at every tick."""
    scheduler = Scheduler()
    job = Candidate("a", 0, (1, 1))
    scheduler.put(job)
    assert scheduler.take_fresh() == {"a"}
    scheduler.put(job)
    assert scheduler.take_fresh() == set()
    scheduler.put(replace(job, not_before=10.0))
    assert scheduler.take_fresh() == set()
    scheduler.choose(10.0, Room(0), lambda window: True)
    assert scheduler.take_fresh() == {"a"}


def test_a_wait_that_was_made_longer_is_not_cut_short_by_the_old_one() -> None:
    """A second failure's backoff counts, not what is left of the first."""
    scheduler = Scheduler()
    scheduler.put(Candidate("a", 0, (1, 1), not_before=5.0))
    scheduler.put(Candidate("a", 0, (1, 1), not_before=50.0))
    assert scheduler.choose(10.0, Room(1), lambda window: True) is None
    chosen = scheduler.choose(50.0, Room(1), lambda window: True)
    assert chosen is not None
    assert chosen.id == "a"


def test_replacing_jobs_for_ever_does_not_grow() -> None:
    """A night of changed priorities leaves no heap of outdated entries."""
    scheduler = Scheduler()
    scheduler.put(Candidate("other", 0, (0, 0)))
    for n in range(5000):
        scheduler.put(Candidate("a", n, (1, 1)))
        scheduler.put(Candidate("b", 0, (1, 1), not_before=1e9 + n))
    assert sum(len(line.heap) for line in scheduler._lines.values()) < 200
    assert len(scheduler._timed) < 200

"""Measure how long the scheduler takes to decide: 100,000 jobs on 1,000 GPUs, simulated to the end.

Runs the real `rekindle.daemon.queueing.scheduler` against the plain way, which sorts the ready
jobs at each decision, in the same process. The plain way is asked at a few points of the same
simulation only, since it would need hours for all of it.

    .venv/bin/python benchmarks/scheduler.py [--jobs 100000] [--gpus 1000]
"""

import argparse
import heapq
import json
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".importroot"))

from rekindle.daemon.queueing.scheduler import Candidate, Room, Scheduler

WINDOWS = (None, None, None, None, "22:00-07:00", "00:00-06:00")
WIDTHS = (1, 1, 1, 1, 1, 2, 2, 4, 8)


def candidates(count: int, rng: random.Random) -> list[Candidate]:
    """Mixed priorities, widths and windows; a fifth waits for a backoff at first."""
    return [
        Candidate(
            f"job-{n}",
            rng.randrange(5),
            (float(n), n),
            rng.choice(WIDTHS),
            rng.choice(WINDOWS),
            rng.random() * 1000 if rng.random() < 0.2 else None,
        )
        for n in range(count)
    ]


def plainly(
    jobs: dict[str, Candidate], now: float, room: Room, opened: set[str]
) -> Candidate | None:
    """Decide by the same policy with a sort: the reference."""
    ready = sorted(
        (
            job
            for job in jobs.values()
            if (job.not_before is None or job.not_before <= now)
            and (job.window is None or job.window in opened)
            and job.gpus <= room.reach
        ),
        key=lambda job: job.rank,
    )
    return ready[0] if ready and ready[0].gpus <= room.gpus else None


def simulate(jobs: list[Candidate], gpus: int, rng: random.Random) -> dict[str, float]:
    """Run all jobs to their end; give the seconds of each decision and the outcome."""
    scheduler = Scheduler()
    began = time.perf_counter()
    for job in jobs:
        scheduler.put(job)
    filled = time.perf_counter() - began
    left = {job.id: job for job in jobs}
    lasts = {job.id: rng.uniform(60, 7200) for job in jobs}
    ends: list[tuple[float, str, int]] = []
    free, now, busy = gpus, 0.0, 0.0
    took: list[float] = []
    plain: list[float] = []
    sampled = {int(len(jobs) * share) for share in (0.0, 0.1, 0.25, 0.5, 0.75)}
    started = 0
    while left or ends:
        # the night lasts for nine of 24 hours
        opened = {"22:00-07:00", "00:00-06:00"} if now % 86400 < 9 * 3600 else set()
        while True:
            room = Room(0, free, gpus)
            began = time.perf_counter()
            chosen = scheduler.choose(now, room, opened.__contains__)
            took.append(time.perf_counter() - began)
            if started in sampled:
                sampled.discard(started)
                began = time.perf_counter()
                expected = plainly(left, now, room, opened)
                plain.append(time.perf_counter() - began)
                assert expected == chosen, (expected, chosen)
            if chosen is None:
                break
            began = time.perf_counter()
            scheduler.remove(chosen.id)
            took[-1] += time.perf_counter() - began
            del left[chosen.id]
            started += 1
            free -= chosen.gpus
            assert free >= 0
            busy += chosen.gpus * lasts[chosen.id]
            heapq.heappush(ends, (now + lasts[chosen.id], chosen.id, chosen.gpus))
        if ends:
            now, _, width = heapq.heappop(ends)
            free += width
        elif left:
            now += 600.0
    took.sort()
    return {
        "jobs": len(jobs),
        "gpus": gpus,
        "fill_us_per_job": filled / len(jobs) * 1e6,
        "decisions": len(took),
        "decision_us_median": statistics.median(took) * 1e6,
        "decision_us_p99": took[int(len(took) * 0.99)] * 1e6,
        "decision_us_max": took[-1] * 1e6,
        "decisions_per_s": len(took) / sum(took),
        "plain_ms_median": statistics.median(plain) * 1e3,
        "plain_over_ours": statistics.median(plain) / statistics.median(took),
        "simulated_hours": now / 3600,
        "gpu_utilisation": busy / (gpus * now),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--gpus", type=int, default=1000)
    args = parser.parse_args()
    for count in (args.jobs // 100, args.jobs // 10, args.jobs):
        rng = random.Random(1)
        result = simulate(candidates(count, rng), args.gpus, rng)
        print(json.dumps({key: round(value, 3) for key, value in result.items()}))


if __name__ == "__main__":
    main()

"""The time of a job divides into classes that add up; what is unknown is not 0."""

from typing import Any

import pytest

from rekindle.state.ledger import held_time
from rekindle.state.ledger.held_time import HeldTime, Sign
from rekindle.state.ledger.rows import AttemptRow, EventRow, JobRow
from rekindle.state.lifecycle import JobState

TIMES = {"useful": 60.0, "repeat": 5.0, "init": 20.0, "seek": 1.0, "restore": 2.0, "save": 3.0}


def attempt(n: int, started: float, ended: float | None, **more: Any) -> AttemptRow:
    fields: dict[str, Any] = dict.fromkeys(AttemptRow.__dataclass_fields__)
    over = {"outcome": "crashed", "seconds": ended - started} if ended is not None else {}
    about = {"times": TIMES, "trainer_pid": 7, **over, **more}
    return AttemptRow(**{**fields, "job": "a-1", "n": n, **about, "started_at": started} | {
        "ended_at": ended
    })  # fmt: skip


def event(at: float, kind: str) -> EventRow:
    return EventRow(0, at, "a-1", None, kind, {}, 1, None)


def divided(
    attempts: list[AttemptRow],
    events: list[EventRow] | None = None,
    pauses: list[EventRow] | None = None,
    *,
    state: JobState = JobState.DONE,
    now: float = 10_000.0,
    sign: Sign | None = None,
) -> HeldTime:
    fields: dict[str, Any] = dict.fromkeys(JobRow.__dataclass_fields__)
    job = JobRow(**{**fields, "id": "a-1", "state": state})
    found = held_time.of(job, attempts, events or [], pauses or [], now, sign)
    assert found is not None
    assert found.held == pytest.approx(found.useful + sum(found.losses.values()) + found.unknown)
    return found


def test_attempts_and_the_wait_between_them_divide_the_whole_time() -> None:
    found = divided([attempt(1, 0, 100), attempt(2, 130, 230)])
    assert (found.held, found.useful, found.ettr) == (230, 120, pytest.approx(120 / 230))
    assert found.losses == {
        "queue": 30,
        "init": 40,
        "seek": 2,
        "restore": 4,
        "repeat": 10,
        "save": 6,
        "other": 18,
    }


def test_the_time_of_a_person_is_not_held_and_overlaps_count_once() -> None:
    """Held from 100 to 140, the queue paused from 120 to 150, the next attempt at 160."""
    events = [event(100, "job_held"), event(140, "job_queued"), event(160, "job_starting")]
    pauses = [event(120, "queue_paused"), event(150, "queue_resumed")]
    found = divided([attempt(1, 0, 100), attempt(2, 160, 260)], events, pauses)
    assert (found.person, found.losses["queue"], found.held) == (50, 10, 210)


def test_a_suspended_host_is_not_held_and_a_slow_daemon_is() -> None:
    found = divided([attempt(1, 0, 1100, seconds=100.0), attempt(2, 1100, 1202, seconds=100.0)])
    assert (found.suspended, found.losses["queue"], found.held) == (1000, 2, 202)


def test_an_attempt_without_times_is_unknown_and_leaves_no_ratio() -> None:
    """It is one of an older version, or of a command."""
    found = divided([attempt(1, 0, 100, times=None), attempt(2, 100, 200)])
    assert (found.unknown, found.attempts, found.ettr, found.useful) == (100, (2, 1), None, 60)
    alone = divided([attempt(1, 0, 100, times=None)]).as_json()
    assert alone["useful"] is None
    assert alone["losses"].pop("queue") == 0
    assert set(alone["losses"].values()) == {None}
    # nothing was started
    failed = divided([attempt(1, 0, 1, times=None, trainer_pid=None, outcome="refused")])
    assert (failed.losses["init"], failed.unknown) == (1, 0)


def test_a_wait_whose_events_were_dropped_is_unknown() -> None:
    events = [event(110, "events_dropped"), event(250, "job_queued")]
    found = divided([attempt(1, 0, 100), attempt(2, 140, 240), attempt(3, 260, 360)], events)
    assert (found.unknown, found.losses["queue"], found.attempts) == (40, 20, (3, 0))


def test_a_running_attempt_counts_up_to_its_last_sign() -> None:
    sign = Sign(195.0, {**TIMES, "useful": 58.0})
    running = attempt(2, 100, None, times=None)
    found = divided([attempt(1, 0, 100), running], state=JobState.RUNNING, sign=sign)
    assert (found.held, found.useful, found.losses["other"]) == (195, 118, 15)


def test_a_job_that_waits_counts_until_now() -> None:
    found = divided([attempt(1, 0, 100)], state=JobState.WAITING, now=130)
    assert (found.losses["queue"], found.held) == (30, 130)
    held = divided([attempt(1, 0, 100)], state=JobState.HELD, now=130)
    assert held.held == 100


def test_clocks_that_disagree_divide_what_the_keeper_measured() -> None:
    """Only the trainer was frozen: it counted more than the keeper did."""
    found = divided([attempt(1, 0, 50, seconds=45.5)])
    assert found.held == 50
    assert found.useful == pytest.approx(30)

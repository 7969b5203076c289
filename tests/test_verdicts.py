"""Every cause has its verdict, and each verdict says why."""

import dataclasses
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.daemon import ending, verdicts
from rekindle.daemon.ending import Ending, Failure
from rekindle.jobs.job import RetryPolicy
from rekindle.state.lifecycle import JobState

POLICY = RetryPolicy(max_failures=3, backoff_min=10, backoff_max=600)
CRASH = Ending(attempt=2, cause="crash", exit_code=1, signal=None, started=True,
               stop_requested=False, killed_after_grace=False, progressed=False, failure=None,
               previous=None, boot_id="this")
ERROR = Failure("ValueError", "bad batch", "", 3, 170, trained=True)


def decide(facts: Ending, failures: int = 0, wish: str | None = None,
           stopping: bool = False) -> verdicts.Verdict:
    return verdicts.decide(facts, policy=POLICY, failures=failures, wish=wish, boot_id="this",
                           daemon_stopping=stopping)


def having(**changes: object) -> Ending:
    return dataclasses.replace(CRASH, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("facts", "failures", "state", "count"), [
    (having(cause="done", exit_code=0), 2, JobState.DONE, 0),
    (having(cause="preempted", exit_code=75), 2, JobState.QUEUED, 2),
    (having(cause="lost", exit_code=None, boot_id="earlier"), 2, JobState.QUEUED, 2),
    (having(cause="lost", exit_code=None, started=False), 2, JobState.QUEUED, 2),
    (having(cause="lost", exit_code=None), 1, JobState.WAITING, 2),
    (having(), 0, JobState.WAITING, 1),
    (having(exit_code=None, signal=signal.SIGSEGV), 2, JobState.WAITING, 3),
    (having(), 3, JobState.HELD, 4),
    (having(progressed=True), 3, JobState.WAITING, 1),
    (having(cause="permanent", exit_code=78), 0, JobState.FAILED, 0),
])
def test_a_cause_has_its_verdict(facts: Ending, failures: int, state: JobState,
                                 count: int) -> None:
    """One row of the table of causes and verdicts each."""
    verdict = decide(facts, failures)
    assert (verdict.state, verdict.failures) == (state, count)
    assert verdict.reason
    assert (verdict.delay > 0) == (state == JobState.WAITING)


def test_the_same_mistake_before_any_step_fails_the_job() -> None:
    """A typo is not tried all night."""
    mistake = dataclasses.replace(ERROR, trained=False, epoch=0, step=0)
    verdict = decide(having(failure=mistake, previous=mistake))
    assert (verdict.state, verdict.cause) == (JobState.FAILED, "mistake")
    assert "ValueError" in verdict.reason
    assert verdict.hint


def test_a_batch_that_fails_twice_is_named_and_held() -> None:
    """The person learns which batch to look at."""
    verdict = decide(having(failure=ERROR, previous=ERROR, progressed=True))
    assert (verdict.state, verdict.cause) == (JobState.HELD, "poison")
    assert "epoch 3" in verdict.reason
    assert "step 170" in verdict.reason


def test_another_failure_or_another_batch_is_an_ordinary_crash() -> None:
    """Only an equal failure at an equal place points at the script or the data."""
    elsewhere = dataclasses.replace(ERROR, step=171)
    for previous in (None, elsewhere, dataclasses.replace(ERROR, message="other")):
        assert decide(having(failure=ERROR, previous=previous)).state == JobState.WAITING


@pytest.mark.parametrize("cause", ["preempted", "crash", "lost", "permanent"])
@pytest.mark.parametrize(("wish", "state"), [("hold", JobState.HELD),
                                             ("cancel", JobState.CANCELLED)])
def test_a_wish_of_a_person_wins_over_every_cause_but_done(
    cause: str, wish: str, state: JobState
) -> None:
    """Stopped means stopped, however the trainer took it."""
    assert decide(having(cause=cause), wish=wish).state == state
    assert decide(having(cause="done"), wish=wish).state == JobState.DONE


@pytest.mark.parametrize("kind", ["CheckpointsUnreadable", "StateMismatch"])
def test_what_only_a_person_can_decide_is_held_with_the_way_on(kind: str) -> None:
    """Nothing is thrown away and nothing starts from scratch by itself."""
    failure = Failure(kind, "all of them are damaged", "use --from-scratch", 0, 0, trained=False)
    verdict = decide(having(cause="permanent", exit_code=78, failure=failure))
    assert (verdict.state, verdict.hint) == (JobState.HELD, "use --from-scratch")


@given(st.integers(1, 10_000))
def test_the_wait_grows_and_is_capped(failures: int) -> None:
    """Exponential from the first wait on, with jitter, never above the cap."""
    wait = verdicts.backoff(POLICY, failures)
    assert min(10 * 2 ** min(failures - 1, 20), 600) <= wait <= 600


def test_the_facts_of_an_attempt_are_read_from_the_journal() -> None:
    """Only its own entries count; progress means a checkpoint beyond the departure."""
    entries = [
        {"kind": "failed", "attempt": 1, "error_type": "OSError", "message": "x"},
        {"kind": "attempt_ended", "attempt": 1, "cause": "crash", "exit_code": 1},
        {"kind": "attempt_started", "attempt": 2, "boot_id": "b"},
        {"kind": "resumed", "attempt": 2, "step": 50},
        {"kind": "checkpoint_committed", "attempt": 2, "step": 50},
    ]
    facts = ending.read(entries, 2)
    assert (facts.cause, facts.started, facts.progressed, facts.boot_id) == ("lost", True, False,
                                                                             "b")
    assert facts.previous is not None
    assert facts.previous.kind == "OSError"
    entries.append({"kind": "checkpoint_committed", "attempt": 2, "step": 60})
    entries.append({"kind": "attempt_ended", "attempt": 2, "cause": "crash", "signal": 9})
    facts = ending.read(entries, 2)
    assert (facts.cause, facts.signal, facts.progressed) == ("crash", 9, True)


def test_a_keeper_that_ended_at_once_is_counted_as_a_failure() -> None:
    """Only where this daemon has spawned it: after a restart nobody knows what it did."""
    facts = having(cause="lost", exit_code=None, started=False)
    verdict = verdicts.decide(facts, policy=POLICY, failures=2, wish=None, boot_id="this",
                              last_words="OSError: no")
    assert (verdict.state, verdict.failures) == (JobState.WAITING, 3)
    assert "Its keeper ended before the training was started: OSError: no." in verdict.reason

"""Every cause has its verdict, and each verdict says why."""

import dataclasses
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.daemon.verdict import decision, outcome
from rekindle.daemon.verdict.outcome import Ending, Failure
from rekindle.jobs.job import RetryPolicy
from rekindle.state.lifecycle import JobState

POLICY = RetryPolicy(max_failures=3, backoff_min=10, backoff_max=600)
CRASH = Ending(
    attempt=2,
    cause="crash",
    exit_code=1,
    signal=None,
    started=True,
    stop_requested=False,
    killed_after_grace=False,
    progressed=False,
    failure=None,
    previous=None,
    boot_id="this",
)
ERROR = Failure("ValueError", "bad batch", "", 3, 170, trained=True)


def decide(
    facts: Ending, failures: int = 0, stop_reason: str | None = None, stopping: bool = False
) -> decision.Verdict:
    return decision.decide(
        facts,
        policy=POLICY,
        failures=failures,
        stop_reason=stop_reason,
        boot_id="this",
        daemon_stopping=stopping,
    )


def having(**changes: object) -> Ending:
    return dataclasses.replace(CRASH, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "failures", "state", "count"),
    [
        (having(cause="done", exit_code=0), 2, JobState.DONE, 0),
        (having(cause="preempted", exit_code=75), 2, JobState.QUEUED, 2),
        (having(cause="lost", exit_code=None, boot_id="earlier"), 2, JobState.QUEUED, 2),
        (having(cause="lost", exit_code=None, started=False), 2, JobState.QUEUED, 2),
        (having(cause="lost", exit_code=None), 1, JobState.WAITING, 2),
        (having(), 0, JobState.WAITING, 1),
        (having(exit_code=None, signal=signal.SIGSEGV), 1, JobState.WAITING, 2),
        (having(), 2, JobState.HELD, 3),
        (having(progressed=True), 3, JobState.WAITING, 1),
        (having(cause="permanent", exit_code=78), 0, JobState.FAILED, 0),
    ],
)
def test_a_cause_has_its_verdict(facts: Ending, failures: int, state: JobState, count: int) -> None:
    """One row of the table of causes and verdicts each."""
    verdict = decide(facts, failures)
    assert (verdict.state, verdict.failures) == (state, count)
    assert verdict.reason
    assert (verdict.delay > 0) == (state == JobState.WAITING)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("NonFinite", JobState.QUEUED),
        ("GpuMissing", JobState.QUEUED),
        ("StateMismatch", JobState.HELD),
        ("ContainerNotEnded", JobState.HELD),
    ],
)
def test_what_a_failed_gpu_can_cause_is_tried_again_on_another(kind: str, state: JobState) -> None:
    """The rest is held for a person, as ever."""
    failure = dataclasses.replace(ERROR, kind=kind)
    ended = having(cause="permanent", exit_code=78, failure=failure)
    assert decide(ended, stop_reason="gpu").state == state
    assert decide(ended).state == JobState.HELD
    crashed = decide(having(failure=ERROR, previous=ERROR), 2, stop_reason="gpu")
    assert (crashed.state, crashed.failures, crashed.cause) == (JobState.QUEUED, 2, "gpu_fault")


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
    assert "epoch 4," in verdict.reason  # as Keras prints it
    assert "step 170" in verdict.reason


def test_another_failure_or_another_batch_is_an_ordinary_crash() -> None:
    """Only an equal failure at an equal place points at the script or the data."""
    elsewhere = dataclasses.replace(ERROR, step=171)
    for previous in (None, elsewhere, dataclasses.replace(ERROR, message="other")):
        assert decide(having(failure=ERROR, previous=previous)).state == JobState.WAITING


@pytest.mark.parametrize("cause", ["preempted", "crash", "lost", "permanent"])
@pytest.mark.parametrize(
    ("stop_reason", "state"), [("hold", JobState.HELD), ("cancel", JobState.CANCELLED)]
)
def test_a_stop_reason_of_a_person_wins_over_every_cause_but_done(
    cause: str, stop_reason: str, state: JobState
) -> None:
    """Stopped means stopped, however the trainer took it."""
    assert decide(having(cause=cause), stop_reason=stop_reason).state == state
    assert decide(having(cause="done"), stop_reason=stop_reason).state == JobState.DONE


@pytest.mark.parametrize("kind", ["CheckpointsUnreadable", "StateMismatch"])
def test_what_only_a_person_can_decide_is_held_with_the_way_on(kind: str) -> None:
    """Nothing is thrown away and nothing starts from scratch by itself."""
    failure = Failure(kind, "all of them are damaged", "use --from-scratch", 0, 0, trained=False)
    verdict = decide(having(cause="permanent", exit_code=78, failure=failure))
    assert (verdict.state, verdict.hint) == (JobState.HELD, "use --from-scratch")


@given(st.integers(2, 10_000))
def test_the_wait_grows_and_is_capped(failures: int) -> None:
    """Exponential from the second failure on, with jitter, never above the cap."""
    wait = decision.backoff(POLICY, failures)
    assert min(10 * 2 ** min(failures - 2, 20), 600) <= wait <= 600


@pytest.mark.parametrize(
    ("policy", "wait"),
    [
        (POLICY, 1.0),
        (RetryPolicy(backoff_min=0.2, backoff_max=1.0), 0.2),
        (RetryPolicy(backoff_min=0.0, backoff_max=0.0), 0.0),
        (RetryPolicy(), 1.0),
    ],
)
def test_the_first_failure_is_followed_after_a_second_or_less(
    policy: RetryPolicy, wait: float
) -> None:
    """A kill in the night costs a second, not the backoff of a crash loop."""
    assert decision.backoff(policy, 1) == wait


@pytest.mark.parametrize("cause", ["crash", "lost", "hang", "host_oom", "gpu_oom"])
@pytest.mark.parametrize(("most", "failures"), [(0, 1), (1, 1), (2, 2), (3, 3), (5, 5)], ids=str)
def test_the_job_is_held_after_exactly_max_failures(cause: str, most: int, failures: int) -> None:
    """An off-by-one here is a night of the wrong length (cf. kubernetes `backoffLimit`)."""
    policy = dataclasses.replace(POLICY, max_failures=most)
    reasons, count = [], 0
    for before in range(failures):
        verdict = decision.decide(
            having(cause=cause, same_before=before),
            policy=policy,
            failures=count,
            stop_reason=None,
            boot_id="this",
        )
        count = verdict.failures
        reasons.append(verdict.reason)
        last = before == failures - 1
        assert verdict.state == (JobState.HELD if last else JobState.WAITING), reasons
    if most:
        assert f"Failure {most} of {most} in a row" in reasons[-1]
    else:
        assert "Failure 1 in a row" in reasons[-1]
    for number, reason in enumerate(reasons[:-1], 1):
        assert f"(failure {number} of {most})" in reason


@pytest.mark.parametrize("before", [1, 2, 7])
def test_a_new_checkpoint_makes_the_next_failure_the_first(before: int) -> None:
    """However many came before it, and for each count."""
    for cause in ("crash", "hang"):
        verdict = decision.decide(
            having(cause=cause, progressed=True, same_before=before),
            policy=dataclasses.replace(POLICY, max_failures=2),
            failures=before,
            stop_reason=None,
            boot_id="this",
        )
        assert verdict.state == JobState.WAITING
        assert "(failure 1 of 2)" in verdict.reason


@pytest.mark.parametrize("cause", ["crash", "lost", "hang", "gpu_oom", "disk_full"])
def test_the_first_failure_after_progress_is_relaunched_after_a_second(cause: str) -> None:
    """However many came before the new checkpoint; the backoff begins with the second one."""
    at_once = decision.decide(
        having(cause=cause, progressed=True),
        policy=POLICY,
        failures=3,
        stop_reason=None,
        boot_id="this",
    )
    assert (at_once.state, at_once.delay) == (JobState.WAITING, 1.0)
    assert "in 1 s" in at_once.reason
    later = decision.decide(
        having(cause=cause, same_before=1),
        policy=POLICY,
        failures=1,
        stop_reason=None,
        boot_id="this",
    )
    assert later.delay >= 10


def test_the_facts_of_an_attempt_are_read_from_the_journal() -> None:
    """Only its own entries count; progress means a checkpoint beyond the departure."""
    entries = [
        {"kind": "failed", "attempt": 1, "error_type": "OSError", "message": "x"},
        {"kind": "attempt_ended", "attempt": 1, "cause": "crash", "exit_code": 1},
        {"kind": "attempt_started", "attempt": 2, "boot_id": "b"},
        {"kind": "resumed", "attempt": 2, "step": 50},
        {"kind": "checkpoint_committed", "attempt": 2, "step": 50},
    ]
    facts = outcome.read(entries, 2)
    assert (facts.cause, facts.started, facts.progressed, facts.boot_id) == (
        "lost",
        True,
        False,
        "b",
    )
    assert facts.previous is not None
    assert facts.previous.kind == "OSError"
    entries.append({"kind": "checkpoint_committed", "attempt": 2, "step": 60})
    entries.append({"kind": "attempt_ended", "attempt": 2, "cause": "crash", "signal": 9})
    facts = outcome.read(entries, 2)
    assert (facts.cause, facts.signal, facts.progressed) == ("crash", 9, True)


def test_what_was_saved_before_is_no_progress_when_it_is_saved_again() -> None:
    """An attempt that resumed from an older checkpoint than the newest, at step 50."""
    newer = {"checkpoint": "e0000-s00000050", "step": 50, "compare": 8}
    hung = {"kind": "attempt_ended", "cause": "hang", "exit_code": None, "signal": 9}
    entries = [
        {"kind": "attempt_started", "attempt": 1, "boot_id": "b"},
        {"kind": "resumed", "attempt": 1, "step": 0},
        {"kind": "checkpoint_committed", "attempt": 1, "step": 50},
        {**hung, "attempt": 1},
        {"kind": "attempt_started", "attempt": 2, "boot_id": "b"},
        {"kind": "resumed", "attempt": 2, "step": 40, "instead_of": newer},
        {"kind": "checkpoint_committed", "attempt": 2, "step": 45},
        {"kind": "checkpoint_committed", "attempt": 2, "step": 50},
        {**hung, "attempt": 2, "at_step": 45},
    ]
    facts = outcome.read(entries, 2)
    assert (facts.progressed, facts.same_before) == (False, 1)
    entries.insert(-1, {"kind": "checkpoint_committed", "attempt": 2, "step": 60})
    facts = outcome.read(entries, 2)
    assert (facts.progressed, facts.same_before) == (True, 0)


def test_a_keeper_that_ended_at_once_is_counted_as_a_failure() -> None:
    """Only where this daemon has spawned it: after a restart nobody knows what it did."""
    facts = having(cause="lost", exit_code=None, started=False)
    verdict = decision.decide(
        facts,
        policy=POLICY,
        failures=1,
        stop_reason=None,
        boot_id="this",
        keeper_message="OSError: no",
    )
    assert (verdict.state, verdict.failures) == (JobState.WAITING, 2)
    assert "Its keeper ended before the training was started: OSError: no." in verdict.reason


# how a script may end without having finished


STARTED = {"kind": "attempt_started", "attempt": 1, "boot_id": "this"}
BEGUN = {
    "kind": "resumed",
    "attempt": 1,
    "stage": 0,
    "step": 0,
    "epoch": 0,
    "epochs": 12,
    "checkpoint": None,
    "restored": [],
}
START = {"kind": "checkpoint_committed", "attempt": 1, "step": 0, "name": "e0000-s00000000"}
SAVED = {"kind": "checkpoint_committed", "attempt": 1, "step": 40, "name": "e0002-s00000040"}
ENDED = {
    "kind": "checkpoint_committed",
    "attempt": 1,
    "step": 240,
    "end": True,
    "name": "e0012-s00000240-end",
}
OVER = {"kind": "stage_ended", "attempt": 1, "stage": 0, "epoch": 12, "step": 240}
RECEIVED = {"kind": "stop_received", "attempt": 1}
COMMAND = {"kind": "resumed", "attempt": 1, "stage": 0, "step": 0, "epoch": 0, "checkpoint": None}


def end(**changes: object) -> dict[str, object]:
    """The keeper's entry for a script that was left in the third epoch with exit code 0."""
    causes = {0: "done", 75: "preempted", 78: "permanent"}
    entry = {
        "kind": "attempt_ended",
        "attempt": 1,
        "exit_code": 0,
        "signal": None,
        "stop_requested": False,
        "at_epoch": 2,
        "at_step": 46,
        "at_section": "script",
        **changes,
    }
    return {"cause": causes.get(entry["exit_code"], "crash"), **entry}  # type: ignore[arg-type]


def after(
    *entries: dict[str, object], stop_reason: str | None = None, failures: int = 0
) -> decision.Verdict:
    facts = outcome.read(entries, int(str(entries[-1]["attempt"])))
    return decision.decide(
        facts,
        policy=POLICY,
        failures=failures,
        stop_reason=stop_reason,
        boot_id="this",
        job="fit-1",
    )


ASKED = end(stop_requested=True)


@pytest.mark.parametrize(
    "entries",
    [
        # Lightning-AI/pytorch-lightning#19916: a handler of the script's own ends with 0
        [STARTED, BEGUN, START, ASKED],
        [STARTED, BEGUN, START, SAVED, RECEIVED, ASKED],
        # before the first stage, by os._exit or by a handler: it has not come to its end
        [STARTED, ASKED],
        [STARTED, RECEIVED, end(stop_requested=True, at_section="start")],
        # after the last stage, but before its end: results may be missing
        [STARTED, BEGUN, START, ENDED, OVER, ASKED],
        # ended regularly, with a training left behind by `break` or by an exception
        [STARTED, BEGUN, START, end(stop_requested=True, at_section="ended")],
        # a SIGTERM that did not come through the keeper, behind a new checkpoint
        [STARTED, BEGUN, START, SAVED, RECEIVED, end()],
        # NVIDIA-NeMo/Megatron-Bridge#5068, facebookincubator/submitit#1677: by another code, or by
        # an exception out of the handler
        [STARTED, BEGUN, START, RECEIVED, end(stop_requested=True, exit_code=143)],
        [STARTED, BEGUN, START, end(stop_requested=True, exit_code=None, signal=2, cause="crash")],
    ],
)
def test_an_end_out_of_an_unfinished_training_while_asked_to_stop_is_preempted(
    entries: list[dict[str, object]],
) -> None:
    """Never done; held after `rekindle stop`, cancelled after `cancel`, and no failure."""
    verdict = after(*entries, failures=2)
    assert (verdict.state, verdict.cause, verdict.failures) == (JobState.QUEUED, "preempted", 2)
    assert after(*entries, stop_reason="hold").state == JobState.HELD
    assert after(*entries, stop_reason="cancel").state == JobState.CANCELLED
    assert after(*entries, stop_reason="window").state == JobState.QUEUED
    if entries[-1]["exit_code"] == 0:
        assert "exit code 0" in verdict.reason


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([STARTED, BEGUN, START, ENDED, OVER, end(at_section="ended")], "exit code 0."),
        (
            [STARTED, BEGUN, ENDED, OVER, end(at_section="ended", stop_requested=True)],
            "exit code 0.",
        ),
        # the script's own decision, without a request; but a person learns of it
        (
            [STARTED, BEGUN, START, end(at_section="ended")],
            "inside an unfinished training (epoch 3 of 12, step 46)",
        ),
        ([STARTED, BEGUN, START, end()], "inside an unfinished training (epoch 3 of 12, step 46)"),
        ([STARTED, end(at_section="ended")], "exit code 0."),
        ([STARTED, end(at_section="script")], "exit code 0."),
        # an older keeper tells no section
        (
            [
                STARTED,
                BEGUN,
                ENDED,
                OVER,
                {
                    "kind": "attempt_ended",
                    "attempt": 1,
                    "exit_code": 0,
                    "cause": "done",
                    "stop_requested": True,
                },
            ],
            "exit code 0.",
        ),
    ],
)
def test_an_end_that_counts_is_done_with_what_a_person_may_not_expect(
    entries: list[dict[str, object]], says: str
) -> None:
    """Done stays done; a training that was left is named."""
    for stop_reason in (None, "hold"):
        verdict = after(*entries, stop_reason=stop_reason)
        assert verdict.state == JobState.DONE
        assert says in verdict.reason
        assert bool(verdict.hint) == ("unfinished" in verdict.reason)


def test_a_command_says_by_its_exit_code_that_it_is_finished() -> None:
    """That is its contract; after SIGTERM the reason says what it was taken for, and the way on."""
    plain = after(STARTED, COMMAND, {**end(), "at_section": "ended"})
    assert (plain.state, plain.reason) == (JobState.DONE, "The command ended with exit code 0.")
    asked = after(STARTED, COMMAND, {k: v for k, v in ASKED.items() if k != "at_section"})
    assert asked.state == JobState.DONE
    assert "after SIGTERM" in asked.reason
    assert "rekindle retry fit-1" in asked.hint
    assert "75" in asked.hint


@pytest.mark.parametrize(
    "entries",
    [
        [STARTED, end(exit_code=75)],
        [STARTED, BEGUN, START, end(exit_code=75)],
        [STARTED, COMMAND, end(exit_code=75)],
        [
            STARTED,
            {"kind": "failed", "attempt": 1, "error_type": "SystemExit", "message": "75"},
            end(exit_code=75),
        ],
        # sent to itself, with a handler of its own that ends well
        [STARTED, RECEIVED, end()],
        [STARTED, BEGUN, START, RECEIVED, end()],
        [STARTED, RECEIVED, end(exit_code=1)],
    ],
)
def test_saved_without_a_request_and_without_a_checkpoint_is_a_crash(
    entries: list[dict[str, object]],
) -> None:
    """ray-project/ray#40358, Supervisor/supervisor#1189: no relaunch at once without end."""
    first = after(*entries)
    assert (first.state, first.cause, first.failures) == (JobState.WAITING, "crash", 1)
    assert first.delay == 1.0
    second = after(*entries, failures=1)
    assert second.delay >= 10
    assert second.failures == 2
    last = after(*entries, failures=2)
    assert (last.state, last.failures) == (JobState.HELD, 3)
    # the same twice is no mistake: the code says that another try may help
    twice = [
        *entries,
        {**STARTED, "attempt": 2},
        *({**e, "attempt": 2} for e in entries if e["kind"] != "attempt_started"),
    ]
    assert after(*twice, failures=1).state == JobState.WAITING


@pytest.mark.parametrize(
    "entries",
    [
        [STARTED, BEGUN, START, SAVED, end(exit_code=75)],
        [STARTED, COMMAND, SAVED, end(exit_code=75)],
        [STARTED, end(exit_code=75, stop_requested=True)],
        [STARTED, COMMAND, end(exit_code=75, stop_requested=True)],
    ],
)
def test_saved_with_a_request_or_a_new_checkpoint_is_preempted(
    entries: list[dict[str, object]],
) -> None:
    """A time limit of the script's own requeues it; no failure."""
    verdict = after(*entries, failures=2)
    assert (verdict.state, verdict.failures) == (JobState.QUEUED, 2)


def failed(
    number: int = 1, kind: str = "TypeError", message: str = "no such thing", **changes: object
) -> dict[str, object]:
    return {
        "kind": "failed",
        "attempt": number,
        "error_type": kind,
        "message": message,
        "within": False,
        "at": "/home/ana/train.py:41",
        "trained": True,
        "epoch": 12,
        "step": 240,
        **changes,
    }


FINISHED = [STARTED, BEGUN, START, ENDED, OVER]
CRASH_1 = end(exit_code=1)


@pytest.mark.parametrize(
    "more",
    [
        [failed(), CRASH_1],
        [failed(kind="SystemExit", message="3"), end(exit_code=3)],
        # in a relaunch that restores the training, behind it or before it
        [
            end(exit_code=None, signal=9),
            {**STARTED, "attempt": 2},
            failed(2, trained=False),
            {**CRASH_1, "attempt": 2},
        ],
        [
            end(exit_code=None, signal=9),
            {**STARTED, "attempt": 2},
            failed(2, trained=False, epoch=0, step=0),
            {**CRASH_1, "attempt": 2},
        ],
    ],
)
def test_a_failure_after_the_training_is_held_and_the_model_is_safe(
    more: list[dict[str, object]],
) -> None:
    """Not a batch to look at: file and line, the checkpoint, and the command that exports it."""
    verdict = after(*FINISHED, *more)
    assert (verdict.state, verdict.cause) == (JobState.HELD, "after_training")
    assert "training is finished; the script failed after it, at /home/ana/train.py:41: " in (
        verdict.reason
    )
    assert "batch" not in verdict.reason + verdict.hint
    assert "rekindle export fit-1 --to" in verdict.hint
    assert "e0012-s00000240-end" in verdict.hint
    assert "rekindle release fit-1" in verdict.hint


@pytest.mark.parametrize(
    ("number", "progressed", "state"),
    [
        (signal.SIGKILL, True, JobState.QUEUED),
        (signal.SIGTERM, True, JobState.QUEUED),
        (signal.SIGKILL, False, JobState.WAITING),
        (signal.SIGSEGV, True, JobState.WAITING),
    ],
)
def test_a_kill_after_a_new_checkpoint_is_resumed_at_once(
    number: signal.Signals, progressed: bool, state: JobState
) -> None:
    """A second of waiting would be a third of a warm relaunch."""
    verdict = decide(having(exit_code=None, signal=number, progressed=progressed))
    assert verdict.state == state
    assert (verdict.delay == 0.0) == (state == JobState.QUEUED)


def test_a_failure_that_may_pass_is_tried_again_before_a_person_is_asked() -> None:
    """An upload at four in the morning: no step is repeated for it."""
    upload = [failed(kind="ConnectionError", message="refused", passing=True), CRASH_1]
    verdict = after(*FINISHED, *upload, failures=2)
    assert (verdict.state, verdict.failures, verdict.delay) == (JobState.WAITING, 1, 1.0)
    again = [
        *FINISHED,
        *upload,
        {**STARTED, "attempt": 2},
        failed(2, kind="ConnectionError", message="refused", passing=True, trained=False),
        {**CRASH_1, "attempt": 2},
    ]
    assert after(*again, failures=1).state == JobState.WAITING
    held = after(*again, failures=3)
    assert (held.state, held.cause) == (JobState.HELD, "after_training")
    killed = after(*FINISHED, end(exit_code=None, signal=11), failures=0)
    assert killed.state == JobState.WAITING


def test_a_stage_that_begins_later_was_not_the_last() -> None:
    """Between two trainings it is retried, and held after failing twice in the same way."""
    second = {**BEGUN, "stage": 1, "step": 240}
    lost = [*FINISHED, second, end(exit_code=None, signal=9)]
    once = [*lost, {**STARTED, "attempt": 2}, failed(2), {**CRASH_1, "attempt": 2}]
    assert after(*once).state == JobState.WAITING
    twice = [*once, {**STARTED, "attempt": 3}, failed(3), {**CRASH_1, "attempt": 3}]
    verdict = after(*twice, failures=1)
    assert (verdict.state, verdict.cause) == (JobState.HELD, "mistake")
    assert "/home/ana/train.py:41" in verdict.reason
    assert "batch" not in verdict.reason + verdict.hint


def test_two_trainings_that_are_finished_are_both_named() -> None:
    """k folds, and a failure behind them."""
    second = [{**BEGUN, "stage": 1, "step": 240}, {**OVER, "stage": 1}]
    verdict = after(*FINISHED, *second, failed(), CRASH_1)
    assert "stages 1 to 2" in verdict.reason
    begun_anew = after(
        *FINISHED, {"kind": "scratch_requested"}, failed(trained=False, step=0), CRASH_1
    )
    assert begun_anew.state == JobState.WAITING


@pytest.mark.parametrize("where", [{"within": True}, {"within": True, "trained": False}, {}])
def test_a_failure_within_a_training_is_no_failure_after_it(where: dict[str, object]) -> None:
    """The poison batch stays what it is; older trainers do not say where it was."""
    at = {k: v for k, v in failed(**where).items() if where or k != "within"}
    verdict = after(
        STARTED,
        BEGUN,
        START,
        SAVED,
        at,
        CRASH_1,
        {**STARTED, "attempt": 2},
        {**BEGUN, "attempt": 2, "step": 40, "checkpoint": "e0002-s00000040"},
        {**at, "attempt": 2},
        {**CRASH_1, "attempt": 2},
    )
    assert (verdict.state, verdict.cause) == (JobState.HELD, "poison")


EXISTS = [
    ("FileExistsError", "[Errno 17] File exists: 'out'", "out"),
    ("FileExistsError", "[Errno 17] File exists: '/data/run.lock'", "/data/run.lock"),
    # tensorflow/tensorflow#18266, #28798
    (
        "AlreadyExistsError",
        (
            "{{function_node __wrapped__IteratorGetNext}} There appears to be a concurrent "
            "caching iterator running - cache lockfile already exists "
            "('cache_train_0.lockfile'). If you are sure no other running TF computations are "
            "using this cache prefix, delete the lockfile "
            "and restart. [Op:IteratorGetNext] name: 'x'"
        ),
        "cache_train_0.lockfile",
    ),
    ("ValueError", "Unable to create dataset (name already exists)", "what the message names"),
]


@pytest.mark.parametrize(("kind", "message", "name"), EXISTS)
@pytest.mark.parametrize("within", [True, False])
def test_what_an_earlier_attempt_left_in_the_way_is_held_and_named(
    kind: str, message: str, name: str, within: bool
) -> None:
    """os.mkdir, mode "x", a lock file of a cache: the relaunch brought it about, not a mistake."""
    error = failed(2, kind, message, within=within, trained=False, step=0, epoch=0)
    entries = [
        STARTED,
        BEGUN,
        START,
        end(exit_code=None, signal=9),
        {**STARTED, "attempt": 2},
        error,
        {**CRASH_1, "attempt": 2},
    ]
    assert after(*entries).state == JobState.WAITING
    verdict = after(
        *entries,
        {**STARTED, "attempt": 3},
        {**error, "attempt": 3},
        {**CRASH_1, "attempt": 3},
        failures=1,
    )
    assert verdict.state == JobState.HELD
    assert f"Move {name} away" in verdict.hint
    assert ("something" if "message" in name else name) in verdict.reason
    assert "rekindle release fit-1" in verdict.hint


def test_what_was_in_the_way_from_the_start_is_the_script_s_mistake() -> None:
    """No earlier attempt has come further."""
    error = failed(1, *EXISTS[0][:2], trained=False, step=0, epoch=0)
    verdict = after(
        STARTED,
        error,
        CRASH_1,
        {**STARTED, "attempt": 2},
        {**error, "attempt": 2},
        {**CRASH_1, "attempt": 2},
        failures=1,
    )
    assert (verdict.state, verdict.cause) == (JobState.FAILED, "mistake")


def test_a_script_that_has_trained_is_held_and_not_failed() -> None:
    """Data that is gone since: it keeps what it has trained, and resumes once that is back."""
    error = failed(
        2,
        "FileNotFoundError",
        "[Errno 2] No such file: '/mnt/data'",
        trained=False,
        step=0,
        epoch=0,
    )
    verdict = after(
        STARTED,
        BEGUN,
        START,
        SAVED,
        end(exit_code=None, signal=9),
        {**STARTED, "attempt": 2},
        error,
        {**CRASH_1, "attempt": 2},
        {**STARTED, "attempt": 3},
        {**error, "attempt": 3},
        {**CRASH_1, "attempt": 3},
        failures=1,
    )
    assert (verdict.state, verdict.cause) == (JobState.HELD, "mistake")
    assert "has trained in an earlier attempt" in verdict.reason
    assert "before it completed a step" in verdict.reason
    assert "/home/ana/train.py:41" in verdict.reason


@pytest.mark.parametrize(
    ("before", "progressed", "state", "delayed"),
    [
        (0, False, JobState.QUEUED, False),
        (5, True, JobState.QUEUED, False),
        (1, False, JobState.WAITING, True),
        (3, False, JobState.HELD, False),
    ],
)
def test_being_killed_with_the_daemon_has_a_count_of_its_own(
    before: int, progressed: bool, state: JobState, delayed: bool
) -> None:
    """Once is the container's affair; a job that takes it down each time is held."""
    verdict = decide(
        having(cause="interrupted", exit_code=None, same_before=before, progressed=progressed),
        failures=2,
    )
    assert (verdict.state, verdict.delay > 0, verdict.outcome) == (state, delayed, "lost")
    assert verdict.failures == (0 if progressed else 2)
    assert verdict.hint or state == JobState.QUEUED
    rebooted = decide(having(cause="interrupted", boot_id="earlier", same_before=9))
    assert (rebooted.state, rebooted.cause) == (JobState.QUEUED, "preempted")


def test_interruptions_in_a_row_are_counted_by_what_the_daemon_wrote() -> None:
    """The killed keepers recorded no end; a checkpoint resets the count."""
    entries: list[dict[str, object]] = []
    for number in (1, 2):
        entries += [
            {"kind": "attempt_started", "attempt": number, "boot_id": "b"},
            {"kind": "attempt_changed", "attempt": number, "cause": "interrupted"},
        ]
    entries.append({"kind": "attempt_started", "attempt": 3, "boot_id": "b"})
    facts = outcome.read(entries, 3, interrupted=True)
    assert (facts.cause, facts.same_before) == ("interrupted", 2)
    assert outcome.read(entries, 3).cause == "lost"
    entries.insert(3, {"kind": "checkpoint_committed", "attempt": 2, "step": 7})
    assert outcome.read(entries, 3, interrupted=True).same_before == 1
    entries.append({"kind": "attempt_ended", "attempt": 3, "cause": "done", "exit_code": 0})
    assert outcome.read(entries, 3, interrupted=True).cause == "done"


def test_a_note_is_appended_to_the_reason() -> None:
    """The reason names how the daemon ended the attempt."""
    verdict = decide(having())
    assert decision.with_note(verdict, "") == verdict
    assert decision.with_note(verdict, "It was killed.").reason.endswith(". It was killed.")

"""A relaunch compares the steps that it repeats; its record survives a SIGKILL."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.attempt.attempt_log import AttemptLog
from rekindle.jobs.evidence import step_record
from rekindle.jobs.evidence.comparison import Comparison
from rekindle.jobs.evidence.earlier import EarlierProofs
from rekindle.jobs.evidence.proof import make_proof, open_record
from rekindle.jobs.evidence.step_record import Digest, Evidence, LogDigest, StepRecord
from rekindle.jobs.job import CheckpointPolicy, Job, NewCode
from rekindle.state.paths import Run
from rekindle.state.run import journal, proof

JOB = Job(name="proof", workdir="/", id="proof-1", script="train.py")


class Attempt:
    """One attempt of a stage, with the real record and journal."""

    def __init__(self, root: Path, number: int, job: Job = JOB, differed_in: int | None = None):
        self.run = Run(root)
        self.number = number
        self.caveats: list[str] = []
        earlier = EarlierProofs(differed_in=differed_in)
        log = AttemptLog(self.run, number, [])
        self.proof = make_proof(self.run, job, number, 0, earlier, log, [])

    def resume(
        self, step: int, *, epoch: int = 0, epoch_step: int = 1, repeated: int = 0
    ) -> "Attempt":
        self.proof.resume(
            step,
            epoch,
            epoch_step,
            f"s{step}",
            repeated,
            changed=None,
            caveats=lambda: self.caveats,
        )
        return self

    def steps(self, first: int, last: int, epoch: int = 0, **odd: dict[str, Any]) -> "Attempt":
        """Train steps whose loss follows from their number; ``s7={...}`` changes the logs of 7."""
        for step in range(first, last + 1):
            logs = {"loss": 1 / step, "accuracy": 0.5} | odd.get(f"s{step}", {})
            self.proof.note_logs(logs)
            self.proof.step(step, epoch)
        return self

    def proved(self) -> list[dict[str, Any]]:
        found = journal.replay(self.run.journal).entries if self.run.journal.exists() else []
        return [e for e in found if e["kind"] == "proved" and e["attempt"] == self.number]

    def words(self) -> str:
        return proof.words(self.proved()[-1])


def begun(root: Path, last: int, **odd: dict[str, Any]) -> None:
    first = Attempt(root, 1)
    first.proof.begin(0)
    first.steps(1, last, **odd)


def test_repeated_steps_are_proved_identical(tmp_path: Path) -> None:
    begun(tmp_path, 20)
    second = Attempt(tmp_path, 2).resume(10).steps(11, 25)
    (early, last) = second.proved()
    assert ("identical", 8, 10) == (early["result"], early["steps"], early["of"])
    assert ("identical", 10, 10) == (last["result"], last["steps"], last["of"])
    assert second.words() == "10 of 10 repeated steps identical, no epoch start among them"


def test_an_attempt_that_ends_early_says_how_far_it_proved(tmp_path: Path) -> None:
    begun(tmp_path, 20)
    second = Attempt(tmp_path, 2).resume(10).steps(11, 13)
    assert second.proved() == []
    second.proof.finish()
    assert second.words() == "3 of 10 repeated steps identical, no epoch start among them"


def test_nothing_repeated_is_not_called_proved(tmp_path: Path) -> None:
    begun(tmp_path, 20)
    assert Attempt(tmp_path, 2).resume(20).words() == "nothing was repeated"


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"loss": 0.25}, "step 13 differs: loss 0.25 was 0.07692; 2 steps before it identical"),
        ({"loss": np.nextafter(1 / 13, 1)}, "loss 0.07692307692307694 was 0.07692307692307693"),
        ({"accuracy": 0.75}, "step 13 differs: its loss 0.07692 is equal"),
        ({"loss": math.nan}, "loss nan was 0.07692"),
    ],
)
def test_the_first_step_that_differs_is_named(
    odd: dict[str, Any], said: str, tmp_path: Path
) -> None:
    begun(tmp_path, 20)
    second = Attempt(tmp_path, 2)
    second.caveats = ["Layers draw random numbers; x.", "The data shuffles in parallel; y."]
    second.resume(10).steps(11, 20, s13=odd)
    (entry,) = second.proved()
    assert said in proof.words(entry)
    assert (0, 0, 13) == tuple(entry["differs"][k] for k in ("stage", "epoch", "step"))
    assert (entry["result"], entry["differed_in"]) == ("different", 2)
    assert entry["cause"] in second.caveats
    (warned,) = (e for e in journal.replay(second.run.journal).entries if e["kind"] == "warned")
    assert "step 13 differs" in warned["message"]
    assert entry["cause"] in warned["hint"]


def test_a_difference_is_sticky_and_later_attempts_follow_the_deviated_one(tmp_path: Path) -> None:
    begun(tmp_path, 20)
    Attempt(tmp_path, 2).resume(10).steps(11, 16, s13={"loss": 9.0}, s15={"loss": 8.0})
    # it trains further than the second attempt: the steps of the first one mean nothing any more
    third = Attempt(tmp_path, 3, differed_in=2).resume(12)
    third.steps(13, 20, s13={"loss": 9.0}, s15={"loss": 8.0}, s18={"loss": 7.0})
    (entry,) = third.proved()
    assert (entry["result"], entry["steps"], entry["of"]) == ("identical", 4, 4)
    assert third.words().endswith("the run differs since attempt 2")


def test_a_new_beginning_is_not_compared(tmp_path: Path) -> None:
    """Without a checkpoint nothing was restored: what an unseeded script draws may differ."""
    begun(tmp_path, 20)
    second = Attempt(tmp_path, 2)
    second.proof.begin(0)
    second.steps(1, 12, s5={"loss": 9.0})
    third = Attempt(tmp_path, 3).resume(4).steps(5, 20, s5={"loss": 9.0})
    assert [e["result"] for e in [*second.proved(), *third.proved()]] == ["identical"]
    assert third.proved()[0]["of"] == 8


@pytest.mark.parametrize("nan", [math.nan, -math.nan, float(np.float32("nan"))])
def test_nan_equals_nan(nan: float, tmp_path: Path) -> None:
    begun(tmp_path, 12, s12={"loss": math.nan})
    assert Attempt(tmp_path, 2).resume(10).steps(11, 12, s12={"loss": nan}).proved()[0][
        "result"
    ] == ("identical")


def test_epoch_starts_and_ends_among_the_repeated_steps_are_named(tmp_path: Path) -> None:
    first = Attempt(tmp_path, 1)
    first.proof.begin(0)
    first.steps(1, 12)
    first.proof.note_logs({"loss": 0.5, "val_loss": 0.25})
    first.proof.epoch(12, 0)
    first.steps(13, 15, epoch=1)
    second = Attempt(tmp_path, 2).resume(10).steps(11, 12)
    second.proof.note_logs({"loss": 0.5, "val_loss": 0.25})
    second.proof.epoch(12, 0)
    second.steps(13, 15, epoch=1)
    assert second.words().endswith("an epoch start and an epoch end among them")
    third = Attempt(tmp_path, 3).resume(12, epoch=1, epoch_step=0).steps(13, 15, epoch=1)
    assert third.words().endswith("an epoch start among them, no epoch end")
    fourth = Attempt(tmp_path, 4).resume(10).steps(11, 12)
    fourth.proof.note_logs({"loss": 0.5, "val_loss": 0.125})
    fourth.proof.epoch(12, 0)
    assert fourth.words().startswith("the end of epoch 1 differs: its loss 0.5 is equal")


@pytest.mark.parametrize(
    "job",
    [
        JOB.replace(seed=8),
        JOB.replace(allow_change=True),
        JOB.replace(new_code=NewCode(at=1.0, attempt=2, before="a" * 64, after="b" * 64)),
    ],
    ids=["seed", "allow_change", "new_code"],
)
def test_another_training_is_not_compared(job: Job, tmp_path: Path) -> None:
    begun(tmp_path, 20)
    second = Attempt(tmp_path, 2, job).resume(10, repeated=10).steps(11, 20, s12={"loss": 3.0})
    assert ["no_record"] == [entry["result"] for entry in second.proved()]


def test_a_start_from_scratch_is_not_compared(tmp_path: Path) -> None:
    begun(tmp_path, 20)
    record = open_record(Run(tmp_path), JOB, 1)
    assert record is not None
    assert record.furthest(0) == -1


def test_zero_turns_it_off(tmp_path: Path) -> None:
    job = JOB.replace(checkpoint=CheckpointPolicy(prove_steps=0))
    assert Attempt(tmp_path, 1, job).resume(10).steps(11, 30).proved() == []
    assert not Run(tmp_path).step_record.exists()


def test_a_difference_holds_before_the_next_checkpoint_if_the_spec_says_so(tmp_path: Path) -> None:
    job = JOB.replace(checkpoint=CheckpointPolicy(on_difference="hold"))
    begun(tmp_path, 20)
    second = Attempt(tmp_path, 2, job).resume(10).steps(11, 12)
    assert not second.proof.hold_if_different(0, 12)
    second.steps(13, 14, s13={"loss": 9.0})
    assert second.proof.hold_if_different(0, 14)
    failed = [e for e in journal.replay(second.run.journal).entries if e["kind"] == "failed"]
    assert [proof.ERROR] == [e["error_type"] for e in failed]
    assert "rekindle release proof-1" in failed[0]["hint"]


# the record


def record_of(path: Path) -> StepRecord:
    return StepRecord(path / "record", b"k" * 32)


def evidence(step: int, **more: Any) -> Evidence:
    return Evidence(
        **{"stage": 0, "epoch": 0, "attempt": 1, "loss": 0.5, "logs": 7, **more}, step=step
    )


def test_the_record_survives_a_sigkill(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        made = record_of(tmp_path)
        made.write(evidence(3, digest=Digest(1, (1, 2, 3, 2**32 - 1))))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    found = record_of(tmp_path).step(0, 3)
    assert found == evidence(3, digest=Digest(1, (1, 2, 3, 2**32 - 1)))


def test_steps_in_which_nothing_is_compared_are_not_proved(tmp_path: Path) -> None:
    """A loop that logs nothing, and digests that come later than the last repeated step."""
    first, second = Attempt(tmp_path, 1), Attempt(tmp_path, 2)
    first.proof.begin(0)
    for step in range(1, 21):
        first.proof.step(step, 0, {})
    second.resume(10)
    for step in range(11, 25):
        second.proof.step(step, 0, {})
    second.proof.finish()
    assert ["no_record"] == [entry["result"] for entry in second.proved()]
    assert "loop.log" in second.words()


def test_an_equal_digest_proves_the_steps_before_it() -> None:
    seen = Comparison(10, 0)
    for step in range(11, 14):
        assert seen.step(evidence(step, logs=None), evidence(step, logs=None))
    assert (0, 3) == (seen.steps, seen.unseen)
    digest = Digest(1, (1, 2, 3, 4))
    assert seen.step(evidence(14, logs=None, digest=digest), evidence(14, logs=None, digest=digest))
    assert (4, 0) == (seen.steps, seen.unseen)


def test_a_torn_entry_is_no_record(tmp_path: Path) -> None:
    """Whatever single byte of it is wrong."""
    record_of(tmp_path).write(evidence(3))
    path = tmp_path / "record"
    whole = path.read_bytes()
    start = whole.index(b"step")
    for at in range(start, start + 60):
        torn = bytearray(whole)
        torn[at] ^= 0x40
        path.write_bytes(torn)
        assert record_of(tmp_path).step(0, 3) is None, at - start


@pytest.mark.parametrize(
    "content", [b"", b"x", b"rkp1", bytes(64), os.urandom(10_000), b"\xff" * 400_000]
)
def test_a_foreign_file_is_no_record(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(content)
    made = record_of(tmp_path)
    assert made.furthest(0) == -1
    made.write(evidence(3))
    assert record_of(tmp_path).step(0, 3) == evidence(3)


def test_the_steps_after_a_checkpoint_are_kept_however_many_follow(tmp_path: Path) -> None:
    made = record_of(tmp_path)
    made.protect(100)
    last = 100 + 3 * step_record.STEPS
    for step in range(90, last + 1):
        made.write(evidence(step))
    assert all(made.step(0, step) is not None for step in range(101, 165))
    assert made.step(0, last) is not None or last % step_record.STEPS in range(101, 165)
    assert made.step(0, 90) is None
    made.protect(last)
    made.write(evidence(last + 101))
    assert made.furthest(0) == last + 101


def test_logs_of_any_kind_have_a_digest() -> None:
    digest = LogDigest()
    plain = digest.of({"loss": 0.5, "accuracy": 0.25})
    assert plain == digest.of({"loss": 0.5, "accuracy": np.float32(0.25)})
    assert plain[0] == 0.5
    assert plain != digest.of({"loss": 0.5, "accuracy": 0.26})
    assert plain != digest.of({"loss": 0.5, "precision": 0.25})
    for value in (np.arange(3), "text", None, [1, 2], {"a": 1}, object(), np.array(["a"], object)):
        one = digest.of({"loss": 0.5, "other": value})
        assert one[0] == 0.5
        assert one == LogDigest().of({"loss": 0.5, "other": value})
    assert digest.of({"loss": 1.0, "m": np.arange(3)}) != digest.of(
        {"loss": 1.0, "m": np.arange(4)}
    )
    assert digest.of({}) == (None, None)


@pytest.mark.parametrize(
    ("loss", "groups", "named"),
    [
        (0.25, (9, 9, 9, 4), "data"),
        (0.5, (9, 9, 3, 4), "optimizer"),
        (0.5, (9, 2, 3, 4), "model"),
        (0.5, (1, 2, 9, 4), "metrics"),
        (0.25, (9, 9, 9, 9), "seeds"),
    ],
)
def test_the_first_group_that_differs_is_named(
    loss: float, groups: tuple[int, int, int, int], named: str
) -> None:
    found = Comparison(10, 0)
    assert found.step(evidence(11, digest=Digest(1, (1, 1, 1, 1))), evidence(11))
    same = Digest(1, (0, 0, 0, 0))
    assert found.step(evidence(12, digest=same), evidence(12, digest=same))
    was = evidence(13, digest=Digest(1, (1, 2, 3, 4)))
    now = evidence(13, loss=loss, logs=round(8 * loss), digest=Digest(1, groups))
    was = Evidence(0, 0, 13, 1, 0.5, 4, was.digest)
    assert not found.step(now, was)
    assert found.difference is not None
    assert found.difference.group == named
    assert found.digests == 1


def test_what_was_not_restored_is_the_group_until_a_state_is_equal() -> None:
    """A wrong weight makes a wrong slot in one step, and a digest cannot tell which was first."""
    gaps = [("model", "dense/kernel (1 element)")]
    for number in (0, 1):
        found = Comparison(10, 0, gaps=lambda: gaps)
        for step in range(11, 11 + number):
            same = evidence(step, digest=Digest(1, (0, 0, 0, 0)))
            assert found.step(same, same)
        was = evidence(11 + number, digest=Digest(1, (1, 1, 1, 1)))
        assert not found.step(evidence(11 + number, digest=Digest(1, (2, 2, 1, 1))), was)
        assert found.difference is not None
        assert found.difference.group == ("optimizer" if number else "model")


def test_a_state_that_was_not_restored_holds_as_well(tmp_path: Path) -> None:
    """Though every repeated step is identical, e.g. where nothing shows it yet."""
    job = JOB.replace(checkpoint=CheckpointPolicy(on_difference="hold"))
    begun(tmp_path, 12)
    second = Attempt(tmp_path, 2, job)
    gaps = [("callbacks", "Clipped.factor (1.0 and 0.9)"), ("model", "kernel (1 element)")]
    second.proof.resume(10, 0, 1, "s10", 2, changed=None, caveats=tuple, gaps=lambda: gaps)
    second.steps(11, 12)
    assert second.words().endswith("; not restored: Clipped.factor (1.0 and 0.9) and 1 more")
    assert second.proved()[-1]["state"] == [text for _, text in gaps]
    assert second.proof.hold_if_different(0, 12)
    (failed,) = (e for e in journal.replay(second.run.journal).entries if e["kind"] == "failed")
    assert failed["message"] == (
        "The restored state is not that of s10: Clipped.factor (1.0 and 0.9) and 1 more."
    )
    accepted = make_proof(
        second.run, job, 3, 0, EarlierProofs(accepted=True), AttemptLog(second.run, 3, []), []
    )
    accepted.resume(10, 0, 1, "s10", 2, changed=None, caveats=tuple, gaps=lambda: gaps)
    assert not accepted.hold_if_different(0, 10)


def test_a_seed_generator_of_data_read_ahead_is_no_difference() -> None:
    found = Comparison(10, 0)
    was = evidence(11, digest=Digest(1, (1, 2, 3, 4)))
    assert found.step(evidence(11, digest=Digest(1, (1, 2, 3, 5))), was)


def test_an_entry_agrees_only_with_a_step_of_equal_logs_and_no_digest(tmp_path: Path) -> None:
    record = StepRecord(tmp_path / "record", b"key")
    record.write(evidence(11))
    record.write(evidence(12, digest=Digest(step_record.MOST_KINDS, (1, 2, 3, 4))))
    found = record.step(0, 12)
    assert found is not None
    assert found.digest == Digest(step_record.MOST_KINDS, (1, 2, 3, 4))
    logs = evidence(11).logs
    assert record.agrees(0, 11, logs)
    for stage, step, other in ((0, 11, 1), (0, 11, None), (1, 11, logs), (0, 12, logs)):
        assert not record.agrees(stage, step, other)
    assert not record.agrees(0, 11 + step_record.STEPS, logs)
    torn = bytearray((tmp_path / "record").read_bytes())
    torn[torn.index(b"step") + 4 * 7 + 4] ^= 1
    (tmp_path / "record").write_bytes(torn)
    assert not StepRecord(tmp_path / "record", b"key").agrees(0, 11, logs)


def test_digests_of_another_kind_are_not_compared() -> None:
    found = Comparison(10, 0)
    assert found.step(
        evidence(11, digest=Digest(1, (1, 1, 1, 1))), evidence(11, digest=Digest(2, (2, 2, 2, 2)))
    )
    assert (found.steps, found.digests) == (1, 0)


def test_a_receipt_says_why_the_newest_checkpoint_was_not_used() -> None:
    newer = {"checkpoint": "e0002-s00000040", "step": 40, "compare": 8}
    assert proof.instead_of({"instead_of": newer}) == (
        "not from the newer e0002-s00000040, so that at least 8 steps can be compared"
    )
    assert proof.instead_of({"instead_of": None}) is None
    assert proof.instead_of({}) is None, "a receipt of an older version"

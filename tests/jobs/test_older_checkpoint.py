"""An older checkpoint is resumed from where the newest is too near to prove anything."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.evidence.proof import open_record
from rekindle.jobs.evidence.step_record import Digest, Evidence
from rekindle.jobs.heartbeat import Heartbeat
from rekindle.jobs.job import CheckpointPolicy, Extension, Fork, Job, NewCode
from rekindle.jobs.proof import older_checkpoint
from rekindle.jobs.proof.older_checkpoint import MOST_S, comparable
from rekindle.jobs.saving.checkpoint_store import Older, Snapshot
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, journal, kept_files, tensors
from rekindle.state.run.checkpoints import Position

Entry = dict[str, Any]
T0 = 1_000_000.0


class Killed:
    """A run whose first attempt saved at 10, 20 and 30 steps, and was killed after step 33."""

    def __init__(self, root: Path, *, saved: tuple[int, ...] = (10, 20, 30), reached: int = 33):
        self.run = Run(root / "run")
        self.work = root / "work"
        for folder in (self.work, self.run.checkpoints):
            folder.mkdir(parents=True)
        self.job = Job(name="a", id="a-1", workdir=str(self.work), script="/x.py")
        self.entries: list[Entry] = []
        self.attempt = 0
        self.stage = 0
        self.begin(0, None)
        for step in saved:
            self.save(step)
        self.train(1, reached)
        self.end()

    def add(self, kind: str, at: float, **fields: Any) -> None:
        self.run.journal.parent.mkdir(exist_ok=True)
        entry = {"v": 1, "t": T0 + at, "kind": kind, "attempt": self.attempt, **fields}
        with self.run.journal.open("ab") as file:
            file.write(journal.encode(entry))

    def begin(self, step: int, checkpoint: str | None, **receipt: Any) -> None:
        self.attempt += 1
        self.add("attempt_started", step, keeper_pid=5, trainer_pid=6, python="p", argv=[])
        receipt = {"restored": [], "checkpoint": checkpoint, **receipt}
        known = {"stage": self.stage, "epoch": 0, "step": step, "refused": [], "lost_steps": 0}
        self.add("resumed", step, **known, **receipt)

    def save(self, step: int, *, state: Entry | None = None, taken: float | None = None) -> None:
        at = Position(self.stage, 0, step)
        known = {"position": {"step": step}, **(state or {})}

        def write(folder: Path) -> None:
            metadata = {"state": json.dumps(known)}
            tensors.save(folder / checkpoints.STATE, {"x": np.zeros(3)}, metadata)

        taken = T0 + step if taken is None else taken
        manifest = {"attempt": self.attempt, "taken": taken, "finite": True}
        checkpoints.commit(self.run.checkpoints, at, write, manifest)
        fields = {"name": at.name, "stage": self.stage, "epoch": 0, "step": step}
        self.add("checkpoint_committed", step, **fields, bytes=1, best=False)

    def train(self, first: int, last: int, **more: Any) -> None:
        record = open_record(self.run, self.job, 0)
        assert record is not None
        for step in range(first, last + 1):
            known = Evidence(self.stage, 0, step, self.attempt, 0.5, 7)
            record.write(replace(known, **more))
        Heartbeat(self.run.heartbeat, self.attempt).beat("step", 0, last, stage=self.stage, pace=1)

    def end(self, cause: str = "crash", *, at: float = 33.5, **fields: Any) -> None:
        known = {"exit_code": None, "signal": 9, "stop_requested": False, "seconds": at}
        self.add("attempt_ended", at, **known, cause=cause, **fields)

    def session(self) -> Session:
        return Session(self.run, self.job, self.attempt + 1)

    def choose(self, session: Session | None = None) -> Older | None:
        session = session or self.session()
        return older_checkpoint.choose(session, self.stage, session.job.checkpoint)

    def chosen(self) -> int | None:
        """Return the step of the checkpoint that is chosen in place of the newest."""
        found = self.choose()
        return None if found is None else found.checkpoint.position.step


def test_the_next_older_one_is_chosen_where_the_newest_is_too_near(tmp_path: Path) -> None:
    found = Killed(tmp_path).choose()
    assert found is not None
    assert found.checkpoint.position.step == 20
    assert found.as_json() == {"checkpoint": "e0000-s00000030", "step": 30, "compare": 8}


@pytest.mark.parametrize(("reached", "chosen"), [(30, None), (31, 20), (37, 20), (38, None)])
def test_the_newest_is_used_where_it_proves_enough_or_nothing_followed(
    tmp_path: Path, reached: int, chosen: int | None
) -> None:
    assert Killed(tmp_path, reached=reached).chosen() == chosen


def test_one_that_is_too_near_as_well_is_passed_over(tmp_path: Path) -> None:
    assert Killed(tmp_path, saved=(10, 28, 30)).chosen() == 10


@pytest.mark.parametrize("saved", [(30,), ()])
def test_without_an_older_one_the_newest_is_used(tmp_path: Path, saved: tuple[int, ...]) -> None:
    """With `keep = 1` there is none."""
    assert Killed(tmp_path, saved=saved).chosen() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint": CheckpointPolicy(every_steps=10)},
        {"checkpoint": CheckpointPolicy(every_epochs=1)},
        {"checkpoint": CheckpointPolicy(every_seconds=10.0)},
        {"checkpoint": CheckpointPolicy(prove_steps=0)},
        {"allow_change": True},
        {"new_code": NewCode(1.0, 2, "a", "b")},
        {"extension": Extension(1.0, 2, 0, 9, 3)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_person_asked_for_has_priority(tmp_path: Path, changes: Entry) -> None:
    made = Killed(tmp_path)
    made.job = made.job.replace(**changes)
    assert made.chosen() is None


def test_the_beginning_is_not_repeated(tmp_path: Path) -> None:
    """A run from scratch proves nothing about what is restored."""
    assert Killed(tmp_path, saved=(0, 30)).chosen() is None


def test_more_steps_to_prove_need_an_older_one(tmp_path: Path) -> None:
    made = Killed(tmp_path)
    made.job = made.job.replace(checkpoint=CheckpointPolicy(prove_steps=20))
    assert made.chosen() == 10


@pytest.mark.parametrize(
    ("cause", "more", "chosen"),
    [
        ("preempted", {}, None),
        ("permanent", {}, None),
        ("done", {}, None),
        ("hang", {}, 20),
        ("preempted", {"killed_after_grace": True}, 20),
    ],
)
def test_only_an_end_that_could_not_save_asks_for_it(
    tmp_path: Path, cause: str, more: Entry, chosen: int | None
) -> None:
    made = Killed(tmp_path)
    made.end(cause, **more)
    assert made.chosen() == chosen


def test_an_attempt_that_ended_before_it_trained_changes_nothing(tmp_path: Path) -> None:
    made = Killed(tmp_path)
    made.attempt += 1
    made.add("attempt_started", 40.0, keeper_pid=5, trainer_pid=6, python="p", argv=[])
    made.end("preempted", at=41.0)
    assert made.chosen() == 20


def test_a_script_that_was_run_by_hand_has_no_known_end(tmp_path: Path) -> None:
    made = Killed(tmp_path)
    text = made.run.journal.read_bytes().splitlines()
    made.run.journal.unlink()
    for line in text:
        entry = json.loads(line)
        if entry["kind"] != "attempt_ended":
            fields = {k: v for k, v in entry.items() if k not in ("v", "crc", "keeper_pid", "t")}
            made.add(fields.pop("kind"), entry["t"] - T0, **{**fields, "attempt": 1})
    assert made.chosen() is None


def resumed_in_place_of(made: Killed, newer: int) -> None:
    """Begin an attempt at step 20 in place of a newer checkpoint."""
    name = Position(0, 0, newer).name
    about = {"checkpoint": name, "step": newer, "compare": 8}
    made.begin(20, "e0000-s00000020", instead_of=about)


def test_no_checkpoint_is_passed_over_twice(tmp_path: Path) -> None:
    """A job that fails again and again just after it would repeat the interval each time."""
    made = Killed(tmp_path)
    resumed_in_place_of(made, 30)
    made.train(21, 25)
    made.end()
    assert made.chosen() is None, "the one that resumed from the older one was killed, too"
    made.begin(30, "e0000-s00000030")
    made.train(31, 33)
    made.end()
    assert made.chosen() is None, "a later one, from the newest"


def test_two_resumes_in_a_row_are_not_from_an_older_one(tmp_path: Path) -> None:
    """Else an attempt that lives for one interval would get no further."""
    made = Killed(tmp_path)
    resumed_in_place_of(made, 30)
    made.save(40)
    made.train(21, 43)
    made.end()
    assert made.chosen() is None
    made.begin(40, "e0000-s00000040")
    made.save(50)
    made.train(44, 52)
    made.end()
    assert made.chosen() == 40


def test_the_repeated_time_is_bounded(tmp_path: Path) -> None:
    """By the times in the journal, and by the pace of the steps."""
    slow = Killed(tmp_path / "slow")
    Heartbeat(slow.run.heartbeat, 1).beat("step", 0, 33, pace=MOST_S / 13 + 0.1)
    assert slow.chosen() is None
    Heartbeat(slow.run.heartbeat, 1).beat("step", 0, 33, pace=MOST_S / 13 - 0.1)
    assert slow.chosen() == 20
    long = Killed(tmp_path / "long")
    long.add("epoch_ended", 160.0, stage=0, epoch=0, step=33, seconds=1.0, logs={})
    long.end(at=160.0)
    assert long.chosen() is None


def test_the_steps_must_have_left_something_to_compare(tmp_path: Path) -> None:
    made = Killed(tmp_path)
    made.train(21, 28, logs=None)
    assert made.chosen() == 10, "the one before has enough of them"
    made.train(11, 28, logs=None)
    assert made.chosen() is None
    made.train(29, 29, logs=None, digest=Digest(1, (1, 2, 3, 4)))
    assert made.chosen() == 20, "a digest proves the steps before it"
    made.run.step_record.unlink()
    assert made.chosen() is None


def test_an_execution_counts_for_all_its_steps() -> None:
    evidence = [Evidence(0, 0, step, 1, 0.5, 7) for step in range(8, 81, 8)]
    assert comparable(evidence, 64) == 16
    assert comparable(evidence, 80) == 0
    assert comparable([], 0) == 0


def test_a_change_of_the_machine_or_the_packages_leaves_nothing_to_compare(tmp_path: Path) -> None:
    made = Killed(tmp_path)
    session = made.session()
    session.note_change("numpy was 1 and is 2")
    assert made.choose(session) is None


def test_a_checkpoint_of_another_job_is_not_repeated(tmp_path: Path) -> None:
    """A fork began with it."""
    made = Killed(tmp_path)
    made.job = made.job.replace(fork=Fork("t", "b-1", "e0000-s00000020", 0, 0, 20, end=False))
    for step in (10, 20):
        path = made.run.checkpoints / Position(0, 0, step).name / checkpoints.MANIFEST
        path.write_text(json.dumps({**json.loads(path.read_text()), "attempt": 0}))
    assert made.chosen() is None


def test_a_stage_after_which_another_began_is_not_repeated(tmp_path: Path) -> None:
    """An exception left it: only its last steps are repeated."""
    made = Killed(tmp_path)
    made.stage = 1
    made.begin(33, None)
    made.end()
    made.stage = 0
    assert made.chosen() is None


# ---- files


def file_of(made: Killed, name: str, content: bytes, *, kept: bool = True) -> Entry:
    """Write a file of the script, and return its record."""
    path = made.work / name
    path.write_bytes(content)
    digest, size = kept_files.add(made.run.kept_files, path)
    info = path.stat()
    known = {"path": name, "bytes": size, "mtime_ns": info.st_mtime_ns, "mode": 0o600}
    return {**known, "sha256": digest, "kept": kept}


Files = Callable[[Killed], tuple[list[Entry], list[Entry]]]


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (lambda m: ([file_of(m, "a", b"1")], [file_of(m, "a", b"22")]), 20),
        (lambda m: ([file_of(m, "a", b"1", kept=False)], [file_of(m, "a", b"22")]), None),
        (lambda m: ([file_of(m, "a", b"1")], [file_of(m, "a", b"22", kept=False)]), None),
        (lambda m: ([], [file_of(m, "a", b"22")]), None),
        (lambda m: ([file_of(m, "a", b"22")], []), None),
        (lambda m: (kept := [file_of(m, "a", b"1")], kept), 20),
        (
            lambda m: (
                [file_of(m, "a.csv", b"epoch,loss\n")],
                [file_of(m, "a.csv", b"epoch,loss\n0,0.5\n9,0.25\n8,0.25\n")],
            ),
            None,
        ),
    ],
    ids=["kept", "old not kept", "new not kept", "made since", "removed since", "same", "shared"],
)
def test_each_file_must_be_as_of_both_checkpoints(
    tmp_path: Path, files: Files, chosen: int | None
) -> None:
    """The next attempt may resume from the newest one again."""
    made = Killed(tmp_path, saved=())
    older, newer = files(made)
    made.save(20, state={"files": older})
    made.save(30, state={"files": newer})
    assert made.chosen() == chosen
    if older and chosen:
        (made.run.kept_files / older[0]["sha256"]).unlink()
        assert made.chosen() is None, "its copy is missing"


def test_events_of_tensorboard_are_in_no_checkpoint(tmp_path: Path) -> None:
    made = Killed(tmp_path, saved=(20,))
    made.save(30, state={"callbacks": [["TensorBoard", {"files": {}}]]})
    assert made.chosen() is None


# ---- restoring


def restore(made: Killed) -> tuple[Session, Any]:
    session = made.session()

    def read(path: Path) -> Any:
        arrays, metadata = tensors.load(path)
        return arrays, json.loads(metadata["state"])

    return session, session.store.restore_point(0, read, made.choose(session))


def test_the_newer_one_stays_until_it_is_passed(tmp_path: Path) -> None:
    """Neither quarantined nor pruned, and a save at its position leaves it as it is."""
    made = Killed(tmp_path)
    made.job = made.job.replace(checkpoint=CheckpointPolicy(keep=1))
    before = (made.run.checkpoints / "e0000-s00000030" / checkpoints.MANIFEST).read_bytes()
    session, point = restore(made)
    assert point.checkpoint.position.step == 20
    assert point.refused == []
    policy = SavePolicy(session.job.checkpoint)

    def save(step: int) -> set[int]:
        snapshot = Snapshot(Position(0, 0, step), {"model/0": np.zeros(3)}, {}, {})
        session.saves.save(snapshot, "time", policy=policy)
        session.saves.settle()
        return {one.position.step for one in session.store.all()}

    assert save(25) == {10, 20, 25, 30}
    assert save(30) == {10, 20, 25, 30}
    after = (made.run.checkpoints / "e0000-s00000030" / checkpoints.MANIFEST).read_bytes()
    assert before == after
    assert save(35) == {35}


@pytest.mark.parametrize(("damaged", "refused"), [(20, []), (30, ["e0000-s00000030"])])
def test_both_must_be_good(tmp_path: Path, damaged: int, refused: list[str]) -> None:
    """A damaged newest one goes to quarantine, as at any relaunch."""
    made = Killed(tmp_path)
    file = made.run.checkpoints / Position(0, 0, damaged).name / checkpoints.STATE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    _, point = restore(made)
    assert point.instead_of is None
    assert point.checkpoint.position.step == 50 - damaged
    assert [one.name for one in point.refused] == refused

"""Saves in the background: the training continues, and no save is lost."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from rig import ROOT, environment

from rekindle.jobs import memory
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.job import CheckpointPolicy, Job, Resources
from rekindle.jobs.saving.background import Background
from rekindle.jobs.saving.checkpoint_store import Snapshot
from rekindle.jobs.saving.save_policy import SavePolicy
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, journal, tensors
from rekindle.state.run.checkpoints import Position


class Gate:
    """Work that ends when the gate opens."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.finished: list[threading.Thread] = []

    def work(self):
        assert self.open.wait(60)
        return lambda: self.finished.append(threading.current_thread())


def opened_soon(gate: Gate) -> None:
    threading.Timer(0.2, gate.open.set).start()


def test_work_is_finished_once_and_in_the_thread_that_settles() -> None:
    background, gate = Background(), Gate()
    background.settle()
    background.start(gate.work)
    assert background.is_running
    background.poll()
    assert gate.finished == []
    opened_soon(gate)
    background.settle()
    assert gate.finished == [threading.current_thread()]
    assert not background.is_running
    background.settle()
    background.poll()
    assert len(gate.finished) == 1


def test_the_next_work_waits_for_the_one_before() -> None:
    background, first, second = Background(), Gate(), Gate()
    background.start(first.work)
    opened_soon(first)
    background.start(second.work)
    assert len(first.finished) == 1
    second.open.set()
    background.settle()
    assert len(second.finished) == 1


def test_an_error_of_the_work_is_raised_where_it_is_settled() -> None:
    background = Background()

    def work():
        raise KeyError("x")

    background.start(work)
    with pytest.raises(KeyError, match="x"):
        background.settle()
    background.settle()


def test_a_signal_handler_may_settle_while_the_main_thread_does() -> None:
    background, gate = Background(), Gate()
    seen: list[int] = []

    def handler(number, frame):
        background.settle()
        seen.append(len(gate.finished))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        background.start(gate.work)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        opened_soon(gate)
        background.settle()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [1]
    assert len(gate.finished) == 1


def test_a_forked_child_waits_for_no_work_of_its_parent() -> None:
    background, gate = Background(), Gate()
    background.start(gate.work)
    child = os.fork()
    if child == 0:
        background.settle()
        os._exit(7)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        gate.open.set()
        background.settle()


# ---- saves of a session

AT = Position(0, 0, 3)


def session(root: Path, **changes: object) -> Session:
    run = Run(root)
    run.checkpoints.mkdir(exist_ok=True)
    policy = CheckpointPolicy(every_steps=1, keep=5)
    made = Job(name="a", id="a-1", workdir="/", script="/x.py", checkpoint=policy)
    return Session(run, made.replace(**changes), 1)


def said(run: Run, kind: str) -> list[dict[str, object]]:
    return [one for one in journal.replay(run.journal).entries if one["kind"] == kind]


def save(now: Session, at: Position = AT, why: str = "steps", *, size: int = 3, **more) -> bool:
    snapshot = Snapshot(at, {"model/0": np.arange(size, dtype="float32")}, {}, {}, **more)
    return now.saves.save(snapshot, why, policy=SavePolicy(now.job.checkpoint))


def blocked(gate: Gate, judged: tuple[dict, bool] = ({}, True)):
    """Return a judgement that is passed when the gate opens."""

    def judge(tensors):
        assert gate.open.wait(60)
        return judged

    return judge


def test_the_training_continues_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    now, gate = session(tmp_path), Gate()
    assert save(now, judge=blocked(gate))
    assert checkpoints.scan(now.run.checkpoints) == []
    now.saves.poll()
    gate.open.set()
    assert now.saves.settle()
    (made,) = checkpoints.scan(now.run.checkpoints)
    assert checkpoints.verify(made) is None
    assert tensors.load(made.state)[0]["model/0"].tolist() == [0, 1, 2]
    assert [one["name"] for one in said(now.run, "checkpoint_committed")] == [AT.name]


@pytest.mark.parametrize("why", ["start", "signal", "end"])
def test_a_save_that_all_else_waits_for_is_on_disk_at_once(tmp_path: Path, why: str) -> None:
    now = session(tmp_path)
    assert save(now, why=why)
    assert [one.name for one in checkpoints.scan(now.run.checkpoints)] == [AT.name]


def test_a_save_at_once_follows_the_one_that_is_being_written(tmp_path: Path) -> None:
    now, gate = session(tmp_path), Gate()
    save(now, judge=blocked(gate))
    opened_soon(gate)
    assert save(now, Position(0, 0, 4), "signal")
    names = [one["name"] for one in said(now.run, "checkpoint_committed")]
    assert names == ["e0000-s00000003", "e0000-s00000004"]


def test_the_next_attempt_begins_with_what_saves_have_cost(tmp_path: Path) -> None:
    """The delay that the training measured goes with the checkpoint; of another stage, nothing."""
    now = session(tmp_path)
    policy = now.save_policy(0)
    assert not policy.costs.carried
    for step, delay in enumerate((0.002, 0.004, 0.003)):
        policy.costs.stalled(delay)
        snapshot = Snapshot(Position(0, 0, step), {"model/0": np.zeros(9)}, {}, {})
        now.saves.save(snapshot, "signal", policy=policy)
    past = Session(now.run, now.job, 2)
    later = past.save_policy(0).costs
    assert (later.delay, later.measured, later.carried) == (0.003, 0.003, True)
    assert later.write > 0
    assert later.size > 9 * 8
    assert not past.save_policy(1).costs.carried


def test_a_failed_save_is_known_once_it_is_settled(tmp_path: Path) -> None:
    """The training continues, and the next save may succeed."""
    now = session(tmp_path)
    now.run.checkpoints.rmdir()
    now.run.checkpoints.write_text("no folder")
    save(now)
    assert not now.saves.settle()
    (failed,) = said(now.run, "save_failed")
    assert "Not a directory" in str(failed["error"]) or "exists" in str(failed["error"])
    now.run.checkpoints.unlink()
    save(now, Position(0, 0, 4))
    assert now.saves.settle()


def test_without_room_for_a_second_copy_a_save_is_on_disk_at_once(tmp_path: Path) -> None:
    """A limit of one byte is an artificial one: any process is above it."""
    now = session(tmp_path, resources=Resources(memory=1))
    for step in (3, 4):
        save(now, Position(0, 0, step))
        assert checkpoints.scan(now.run.checkpoints)[0].position.step == step
    (warned,) = said(now.run, "warned")
    assert "does not fit into the free memory" in str(warned["message"])


def test_variables_that_are_not_finite_hold_the_job(tmp_path: Path) -> None:
    """The thread judges them; the process ends at the next boundary, and nothing is committed."""
    code = f"""
import sys; sys.path[:0] = [{str(ROOT / "tests/jobs")!r}, {str(ROOT / "tests/support")!r}]
import pathlib, test_saves
now = test_saves.session(pathlib.Path({str(tmp_path)!r}))
test_saves.save(now, judge=lambda _: ({{}}, False))
now.saves.settle()
"""
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), timeout=120)
    assert ran.returncode == 78
    run = Run(tmp_path)
    assert [one["error_type"] for one in said(run, "failed")] == ["NonFinite"]
    assert checkpoints.scan(run.checkpoints) == []


def test_a_process_that_ends_by_itself_waits_for_its_save(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path[:0] = [{str(ROOT / "tests/jobs")!r}, {str(ROOT / "tests/support")!r}]
import pathlib, time, test_saves
now = test_saves.session(pathlib.Path({str(tmp_path)!r}))
test_saves.save(now, judge=lambda _: time.sleep(0.5) or ({{}}, True))
sys.exit(3)
"""
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), timeout=120)
    assert ran.returncode == 3
    assert [one.name for one in checkpoints.scan(Run(tmp_path).checkpoints)] == [AT.name]


# ---- memory


def files(root: Path, **content: str) -> Path:
    for name, text in content.items():
        path = root / name.replace("__", "/").replace("_of_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_free_memory_is_the_least_of_host_and_groups(tmp_path: Path) -> None:
    """Cached files count as free: the kernel drops them when memory is needed."""
    proc = files(
        tmp_path / "proc",
        meminfo="MemTotal: 9000 kB\nMemAvailable:    2000 kB\n",
        self__cgroup="0::/train.slice/job\n",
    )
    groups = tmp_path / "groups"
    assert memory.free(cgroups=groups, proc=proc) == 2000 * 1024
    slice_ = groups / "train.slice"
    files(slice_, memory_of_max="1000000", memory_of_current="300000")
    assert memory.free(cgroups=groups, proc=proc) == 700_000
    files(slice_, memory_of_stat="anon 7\ninactive_file 100000\n")
    assert memory.free(cgroups=groups, proc=proc) == 800_000
    files(slice_ / "job", memory_of_max="max", memory_of_current="200000")
    assert memory.free(cgroups=groups, proc=proc) == 800_000
    files(slice_ / "job", memory_of_max="250000")
    assert memory.free(cgroups=groups, proc=proc) == 50_000


def test_free_memory_with_cgroups_of_version_1(tmp_path: Path) -> None:
    proc = files(tmp_path / "proc", self__cgroup="5:cpu,cpuacct:/x\n4:memory:/a\n")
    groups = tmp_path / "groups"
    group = groups / "memory" / "a"
    files(group, memory_of_limit_in_bytes="500", memory_of_usage_in_bytes="480")
    assert memory.free(cgroups=groups, proc=proc) == 20
    files(group, memory_of_stat="inactive_file 3\ntotal_inactive_file 40\n")
    assert memory.free(cgroups=groups, proc=proc) == 60


def test_free_memory_of_this_host_and_of_a_limit() -> None:
    here = memory.free()
    assert here is not None
    assert here > 2**20
    assert (memory.free(1) or 0) < 0

"""GPUs through the real NVML binding, over a library that pretends to be the driver's."""

import contextlib
import json
import signal
import time
from pathlib import Path

import pytest
from fake_gpus import Box
from hypothesis import given
from hypothesis import strategies as st
from rig import Rig, wait_for

from rekindle.daemon.gpus import monitor, placement
from rekindle.daemon.gpus.faults import Facts, Fault, Severity
from rekindle.daemon.gpus.placement import Gpu
from rekindle.daemon.gpus.pool import Pool
from rekindle.daemon.queue_file import QueueFile
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

LONG = "trap 'exit 75' TERM; echo cuda=$CUDA_VISIBLE_DEVICES; while :; do sleep 0.05; done"


def spec(name: str, gpus: int | None = None, shell: str = LONG, **top: object) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in top.items())
    asked = "" if gpus is None else f"[resources]\ngpus = {gpus}\n"
    return (
        f'name = "{name}"\ncommand = {json.dumps(["/bin/sh", "-c", shell])}\n{lines}{asked}'
        f'[retry]\nbackoff = "1s..2s"\n'
    )


def sees(rig: Rig, job: str) -> str:
    """CUDA_VISIBLE_DEVICES as the latest attempt of a job printed it."""

    def find() -> str | None:
        lines = [line for line in rig.cli("logs", job).splitlines() if line.startswith("cuda=")]
        return lines[-1] if lines else None

    return wait_for(find, f"{job} prints what it sees").removeprefix("cuda=")


@pytest.mark.slow  # four jobs
def test_each_attempt_gets_gpus_of_its_own_by_uuid(rig: Rig, box: Box) -> None:
    """One each where the spec says nothing, none for `gpus = 0`, and the third waits."""
    for n, (name, wanted) in enumerate((("a", None), ("b", 1), ("cpu", 0), ("c", 1))):
        rig.drop(spec(name, wanted), f"{n}.toml")
    rig.start(**box.environment())
    for job in ("a-1", "b-1", "cpu-1"):
        rig.wait_state(job, "running")
    assert rig.wait_state("c-1", "waiting")["reason"] == "It waits for a GPU."
    assert (sees(rig, "a-1"), sees(rig, "b-1")) == ("GPU-0000", "GPU-0001")
    assert sees(rig, "cpu-1") == "-1"
    assert [rig.show(job)["attempts"][0]["gpus"] for job in ("a-1", "b-1", "cpu-1")] == [
        ["GPU-0000"],
        ["GPU-0001"],
        [],
    ]
    rig.cli("stop", "b-1")
    rig.wait_state("c-1", "running")
    assert sees(rig, "c-1") == "GPU-0001"


def test_a_restarted_daemon_knows_which_gpus_are_held(rig: Rig, box: Box) -> None:
    """The adopted attempt keeps its GPU; nobody else gets it, also after a rebuild."""
    rig.drop(spec("a", 1), "1.toml")
    rig.start(**box.environment())
    rig.wait_state("a-1", "running")
    wait_for(lambda: rig.show("a-1")["attempts"][0]["keeper_pid"], "the keeper is known")
    rig.end(signal.SIGKILL)
    rig.cli("verify", "--rebuild", code=None)
    rig.drop(spec("b", 1), "2.toml")
    rig.drop(spec("c", 1), "3.toml")
    rig.start(**box.environment())
    rig.wait_state("b-1", "running")
    assert sees(rig, "b-1") == "GPU-0001"
    assert rig.wait_state("c-1", "waiting")["reason"] == "It waits for a GPU."
    assert rig.show("a-1")["state"] == "running"
    assert len(rig.show("a-1")["attempts"]) == 1


def test_a_wide_job_waits_for_its_gpus_and_one_too_wide_is_held(rig: Rig, box: Box) -> None:
    """Two of two are waited for; three of two can never be had."""
    rig.drop(spec("one", 1), "1.toml")
    rig.start(**box.environment())
    rig.wait_state("one-1", "running")
    rig.drop(spec("two", 2), "2.toml")
    rig.drop(spec("three", 3), "3.toml")
    assert rig.wait_state("two-1", "waiting")["reason"] == "It waits for 2 GPUs."
    held = rig.wait_state("three-1", "held")
    assert held["reason"] == "It asks for 3 GPUs, and this host has 2."
    assert held["hint"]
    rig.drop(spec("later", 1), "4.toml")
    # it would fit, and would starve the wide one
    assert rig.wait_state("later-1", "waiting")["reason"] == "It waits for a GPU."
    rig.cli("cancel", "one-1")
    rig.wait_state("two-1", "running")
    assert sees(rig, "two-1") == "GPU-0000,GPU-0001"


@pytest.mark.slow  # waits for a reading of the driver
def test_a_gpu_in_use_by_another_program_is_left_alone(rig: Rig, box: Box) -> None:
    """Its memory is looked at before each start, a relaunch included."""
    box.set(0, free=20_000)
    box.set(1, free=1_000)
    rig.drop(spec("a", 1), "1.toml")
    rig.start(**box.environment())
    reason = rig.wait_state("a-1", "waiting")["reason"]
    assert reason == (
        "It waits for a GPU: GPU 0 is in use by another program; GPU 1 is in use by "
        "another program."
    )
    box.set(1, free=81_000)
    rig.wait_state("a-1", "running")
    assert sees(rig, "a-1") == "GPU-0001"
    box.set(1, free=1_000)
    assert rig.trainer("a-1", 1).send(signal.SIGKILL)
    # just given back, its memory may take a moment: it is waited for, and not given out
    wait_for(lambda: rig.show("a-1")["reason"] == "It waits for a GPU.", "the relaunch waits")
    assert len(rig.show("a-1")["attempts"]) == 1
    box.set(1, free=81_000)
    rig.trainer("a-1", 2)


@pytest.mark.slow  # a daemon is started twice
def test_a_gpu_with_a_fatal_error_is_set_aside_until_a_person_takes_it_back(
    rig: Rig, box: Box
) -> None:
    """XID 79 does; XID 31, a program's own error, does not. A restart does not forget."""
    rig.start(**box.environment())
    wait_for(lambda: "gpus_seen" in rig.log.read_text(), "the GPUs are seen")
    box.xid(1, 31)
    wait_for(lambda: not Path(f"{box.file}.xid").exists(), "XID 31 is taken")
    box.xid(0, 79)
    wait_for(lambda: "gpu_set_aside" in rig.log.read_text(), "GPU 0 is set aside")
    rig.drop(spec("wide", 2), "1.toml")
    rig.drop(spec("a", 1), "2.toml")
    rig.wait_state("a-1", "running")
    assert sees(rig, "a-1") == "GPU-0001"
    reason = rig.wait_state("wide-1", "waiting")["reason"]
    assert reason.startswith(
        "It waits for 2 GPUs: GPU 0 is set aside (XID 79 (GPU has fallen off the bus) at "
    )
    assert rig.end(signal.SIGTERM) == 0
    rig.start(**box.environment())
    rig.wait_state("a-1", "running")
    assert rig.wait_state("wide-1", "waiting")["reason"] == reason
    assert "GPU 0 is used again" in rig.cli("resume", "--gpu", "0")
    wait_for(lambda: rig.show("wide-1")["reason"] == "It waits for 2 GPUs.", "it is in reach")
    rig.cli("cancel", "a-1")
    rig.wait_state("wide-1", "running")


def test_memory_errors_and_a_lost_gpu_set_it_aside_while_they_are_seen(rig: Rig, box: Box) -> None:
    """NVML's description is the reason; the other GPU is used, and both return when sound."""
    box.set(0, errors=2)
    box.set(1, error=15)
    rig.drop(spec("a", 1), "1.toml")
    rig.start(**box.environment())
    reason = rig.wait_state("a-1", "waiting")["reason"]
    assert "GPU 0 is set aside (2 uncorrected memory errors)" in reason
    assert "GPU 1 is set aside (NVML: GPU is lost)" in reason
    box.set(1, error=0)
    rig.wait_state("a-1", "running")
    assert sees(rig, "a-1") == "GPU-0001"


@pytest.mark.slow  # waits for a driver to fail and come back
def test_a_driver_that_fails_in_the_night_makes_jobs_wait_and_not_fail(rig: Rig, box: Box) -> None:
    """The count of GPUs is remembered; the job starts when the driver responds again."""
    rig.start(**box.environment())
    wait_for(lambda: "gpus_seen" in rig.log.read_text(), "the GPUs are seen")
    box.file.rename(box.file.with_suffix(".away"))
    wait_for(lambda: "driver_trouble" in rig.log.read_text(), "the driver fails")
    rig.drop(spec("a"), "1.toml")
    row = rig.wait_state("a-1", "waiting")
    assert row["reason"] == "It waits for a GPU: NVML: Driver Not Loaded."
    box.write()
    rig.wait_state("a-1", "running")
    assert sees(rig, "a-1") == "GPU-0000"


def test_the_daemons_own_choice_of_gpus_is_kept_to(rig: Rig, box: Box) -> None:
    """An administrator who starts it with one GPU has given it one."""
    rig.drop(spec("a", 1), "1.toml")
    rig.drop(spec("b", 2), "2.toml")
    rig.start(**{**box.environment(), "CUDA_VISIBLE_DEVICES": "1"})
    rig.wait_state("a-1", "running")
    assert sees(rig, "a-1") == "GPU-0001"
    assert "this host has 1" in rig.wait_state("b-1", "held")["reason"]


WATCHED = Fault("rows pending", "a row", Severity.WATCH)
FAILED = Fault("XID 79", "XID 79", Severity.FATAL)

cards = st.lists(
    st.builds(
        Gpu,
        uuid=st.integers(0, 9).map(lambda n: f"GPU-{n}"),
        label=st.just("0"),
        total=st.just(100),
        free=st.integers(0, 100),
        faults=st.sampled_from([(), (), (WATCHED,), (FAILED,)]),
    ),
    unique_by=lambda gpu: gpu.uuid,
)


@given(
    cards,
    st.sets(st.integers(0, 9).map(lambda n: f"GPU-{n}")),
    st.sets(st.integers(0, 9).map(lambda n: f"GPU-{n}")),
)
def test_what_is_given_out_is_sound_free_and_nobodys(
    seen: list[Gpu], held: set[str], settling: set[str]
) -> None:
    """Whatever the driver shows; and every GPU is ready, in reach or named with a reason."""
    stock = placement.take_stock(seen, held=held, settling=settling, free_share=0.8)
    known = {gpu.uuid: gpu for gpu in seen}
    assert len(set(stock.allocatable)) == len(stock.allocatable) <= stock.reclaimable
    for uuid in stock.allocatable:
        assert uuid not in held
        assert FAILED not in known[uuid].faults
        assert known[uuid].free >= 80
    assert stock.reclaimable + len(stock.unavailable) == len(seen)
    watched = [bool(known[uuid].faults) for uuid in stock.allocatable]
    assert watched == sorted(watched), "a sound one is chosen first"


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (None, ["GPU-aa", "GPU-ab", "MIG-1"]),
        ("", []),
        ("-1", []),
        ("1", ["GPU-ab"]),
        ("GPU-ab", ["GPU-ab"]),
        ("GPU-a", []),
        ("2:0,0", ["GPU-aa", "MIG-1"]),
        ("0,7,1", ["GPU-aa"]),
        ("0,0", ["GPU-aa"]),
        ("NoDevFiles", []),
    ],
)
def test_the_choice_of_gpus_is_read_as_cuda_reads_it(
    allowed: str | None, expected: list[str]
) -> None:
    """Up to the first that does not exist; an ambiguous prefix matches none."""
    box = [Gpu("GPU-aa", "0"), Gpu("GPU-ab", "1"), Gpu("MIG-1", "2:0")]
    assert [gpu.uuid for gpu in placement.visible(box, allowed)] == expected


class Readings(monitor.Monitor):
    """A monitor that shows what a test gives it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.now = monitor.Seen(0.0)

    def seen(self) -> monitor.Seen:
        return self.now


def test_a_reading_from_before_the_end_of_an_attempt_gives_its_gpu_to_nobody(
    tmp_path: Path,
) -> None:
    """A line of the probe may arrive later and still tell what was read earlier."""
    home = Home(tmp_path / "home")
    home.create()
    readings = Readings()
    with contextlib.closing(Ledger.open(home.ledger)) as ledger:
        pool = Pool(ledger, readings, QueueFile(home), free_share=0.8)
        pool.give_back(["GPU-a"])
        since = time.monotonic()
        for age, allocatable in ((1.2, ()), (0.2, ("GPU-a",))):
            gpu = Gpu("GPU-a", "0", total=100, free=100, facts=Facts(silent=age))
            readings.now = monitor.Seen(since + 1.0, (gpu,), frozenset({"GPU-a"}), 1)
            pool.refresh(())
            assert pool.stock.allocatable == allocatable
            assert pool.stock.reclaimable == 1


def test_a_box_without_gpus_does_not_look_at_its_whole_queue_at_each_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No driver on no GPU is no news: with ten thousand jobs a tick would take seconds."""
    monkeypatch.setattr(monitor, "_on_the_bus", lambda: 0)
    home = Home(tmp_path / "home")
    home.create()
    ledger = Ledger.open(home.ledger)
    silent = monitor.Monitor(None)  # its thread is not started: the driver has not answered
    assert silent.seen().trouble
    pool = Pool(ledger, silent, QueueFile(home), free_share=0.8)
    assert [pool.refresh(()) for _ in range(3)] == [False, False, False]
    monkeypatch.setattr(monitor, "_on_the_bus", lambda: 2)
    assert [pool.refresh(()) for _ in range(3)] == [True, False, False]
    ledger.close()

"""GPUs that fail while jobs train on them: real daemons, keepers and trainings, over a pretended
driver (`tests/fakes/nvml.c`) and the real NVML binding.

Public reports of the kind: NVIDIA/gpu-monitoring-tools#46 (nvidia-smi in uninterruptible sleep
beside a crashed GPU), leptonai/gpud#604 (queries of a GPU after XID 79), NVIDIA/NVSentinel#155 (a
GPU off the bus without an XID), lyulyul/shine-cluster#30 (an unattended update of the driver's
library: running jobs continue, new ones see no GPU).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_gpus import Box, build
from nights import Night, steps, stolen
from rig import wait_for

pytestmark = pytest.mark.faults

ONE = "[resources]\ngpus = 1\n"
QUICK = '[gpus]\nsilent = "2s"\nslow_after = "1s"\n'
LONG = "--steps 100000 --every 100000"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Three GPUs."""
    return Box(tmp_path, 3)


def gpus_of(night: Night, job: str) -> list[list[str]]:
    """The GPUs of each attempt of a job."""
    return [attempt["gpus"] for attempt in night.show(job)["attempts"]]


def two_jobs(night: Night, box: Box) -> None:
    """Train a job on each of the first two GPUs."""
    night.home.config.write_text(QUICK)
    night.start(**box.environment())
    for n, name in enumerate(("a", "b")):
        night.submit(name, args=LONG, spec=ONE)
        night.step(f"{name}-1", 3)
        assert gpus_of(night, f"{name}-1") == [[f"GPU-{n:04d}"]]
    wait_for(lambda: night.states().get("b-1") == "running", "the ledger knows of both")


def reason_of(night: Night, job: str) -> str:
    row = night.wait_state(job, "waiting")
    assert "rekindle resume --gpu GPU-0000" in (row["hint"] or ""), row
    return str(row["reason"])


FATAL: dict[str, tuple[Callable[[Box], None], str]] = {
    "XID 79": (lambda box: box.xid(0, 79), "XID 79 (GPU has fallen off the bus) at "),
    "memory errors": (lambda box: box.set(0, errors=2), "2 uncorrected memory errors"),
    "lost": (lambda box: box.set(0, error=15), "NVML: GPU is lost"),
    "reset required": (lambda box: box.set(0, error=16), "NVML: GPU requires restart"),
    "recovery action": (lambda box: box.set(0, recovery=2), "needs a reboot of the host"),
    "gone": (lambda box: box.remove(0), "the driver no longer shows it"),
}


@pytest.mark.parametrize("fault", FATAL)
def test_a_job_on_a_failed_gpu_is_saved_and_continues_on_another(
    night: Night, box: Box, fault: str
) -> None:
    """No failure of its own, no step repeated; the job beside it does not notice."""
    happen, text = FATAL[fault]
    two_jobs(night, box)
    happen(box)
    wait_for(lambda: len(gpus_of(night, "a-1")) == 2, "it has a second attempt")
    trained = len(steps(night.work / "a"))
    night.step("a-1", trained)
    assert gpus_of(night, "a-1") == [["GPU-0000"], ["GPU-0002"]]
    shown = night.show("a-1")
    assert shown["failures"] == 0
    assert (shown["attempts"][0]["cause"], shown["attempts"][0]["exit_code"]) == ("gpu_fault", 75)
    numbers = [step for _, step in steps(night.work / "a")]
    assert numbers == [*range(len(numbers))], "a step was repeated or skipped"
    assert gpus_of(night, "b-1") == [["GPU-0001"]]
    night.submit("c", args="--steps 3", spec="[resources]\ngpus = 3\n")
    assert f"GPU 0 is set aside ({text}" in reason_of(night, "c-1").replace(
        "the driver says that it ", ""
    )
    assert "gpu_set_aside" in night.log.read_text()
    (failed,) = [e for e in shown["events"] if e["kind"] == "gpu_failed"]
    assert "GPU 0 (Fake H100, GPU-0000) is set aside: " in failed["data"]["message"]
    assert "resume --gpu GPU-0000" in night.cli("ls")
    assert "resume --gpu GPU-0000" in night.cli("doctor", "--no-imports", code=None)


def test_the_job_of_the_only_gpu_waits_and_a_person_brings_it_back(
    night: Night, tmp_path: Path
) -> None:
    """Also after a restart of the daemon; the waiting job says which command to use."""
    box = Box(tmp_path, 1)
    night.start(**box.environment())
    night.submit("a", args=LONG, spec="")
    night.step("a-1", 3)
    wait_for(lambda: night.states().get("a-1") == "running", "the ledger knows of it")
    box.xid(0, 95)
    assert "uncontained memory error" in reason_of(night, "a-1")
    assert night.end() == 0
    night.start(**box.environment())
    wait_for(lambda: night.log.read_text().count("gpus_seen") == 2, "the next daemon serves")
    assert "uncontained memory error" in reason_of(night, "a-1")
    assert len(gpus_of(night, "a-1")) == 1
    assert "is used again" in night.cli("resume", "--gpu", "GPU-0000")
    wait_for(lambda: len(gpus_of(night, "a-1")) == 2, "it is resumed")


STAYS: dict[str, dict[str, Any]] = {
    "reduced clocks": {"slow": 0x40},
    "unreadable": {"error": 999},
    "silent": {"hang": 1},
}


@pytest.mark.parametrize("fault", STAYS)
def test_a_gpu_in_doubt_gets_no_new_job_and_keeps_the_one_it_has(
    night: Night, box: Box, fault: str
) -> None:
    """It is used again by itself when the doubt is over; after heat that takes a minute."""
    two_jobs(night, box)
    box.set(0, **STAYS[fault])
    wait_for(lambda: "gpu_set_aside" in night.log.read_text(), "it is set aside")
    night.submit("c", args=LONG, spec=ONE)
    night.step("c-1", 1)
    assert gpus_of(night, "c-1") == [["GPU-0002"]], "the others are used"
    night.submit("d", args=LONG, spec="[resources]\ngpus = 3\n")
    reason = reason_of(night, "d-1")
    assert "GPU 0 is set aside" in reason
    before = len(steps(night.work / "a"))
    night.step("a-1", before)
    assert gpus_of(night, "a-1") == [["GPU-0000"]], "its job was left alone"
    if fault != "reduced clocks":
        box.set(0, slow=0, error=0, hang=0)
        wait_for(lambda: "set aside" not in str(night.show("d-1")["reason"]), "it is sound again")


@pytest.mark.parametrize(
    "facts", [{"slow": 0x04}, {"pending": 1}, {"pages": 1}, {"errors": 1, "recovery": 0}]
)
def test_what_nvidia_says_can_go_on_goes_on(
    night: Night, tmp_path: Path, facts: dict[str, int]
) -> None:
    """A power cap, a row to be replaced, a contained error: the only GPU is used."""
    box = Box(tmp_path, 1)
    box.set(0, **facts)
    box.xid(0, 94)
    night.home.config.write_text(QUICK)
    night.start(**box.environment())
    wait_for(box.xid_is_taken, "the event is taken")
    night.submit("a", args="--steps 3", spec=ONE)
    wait_for(lambda: night.states().get("a-1") == "done", "it is done")
    assert gpus_of(night, "a-1") == [["GPU-0000"]]


def test_a_driver_that_hangs_leaves_running_jobs_alone_and_is_used_when_it_answers(
    night: Night, box: Box
) -> None:
    """The daemon answers, stops and starts meanwhile; its probe is ended, not waited for."""
    two_jobs(night, box)
    box.set_driver(hang=1)
    night.submit("c", args="--steps 3", spec=ONE)
    night.submit("cpu", args="--steps 3", spec="[resources]\ngpus = 0\n")
    wait_for(lambda: night.states().get("cpu-1") == "done", "a job without a GPU is not concerned")
    wait_for(lambda: "gpu_probe_killed" in night.log.read_text(), "the probe is killed")
    night.submit("d", args="--steps 3", spec=ONE)
    row = night.wait_state("d-1", "waiting")
    assert "The NVIDIA driver has not responded for 2 s" in row["reason"]
    before = len(steps(night.work / "a"))
    night.step("a-1", before)
    began = time.monotonic()
    assert night.end() == 0
    ended = time.monotonic() - began
    night.start(**box.environment())
    assert night.wait_state("d-1", "waiting")["reason"]
    box.set_driver(hang=0)
    wait_for(lambda: night.states()["d-1"] == "done", "the GPUs are used again")
    assert ended < 60


def test_an_updated_library_that_does_not_fit_the_module_stops_new_starts_only(
    night: Night, tmp_path: Path
) -> None:
    """A new training would load it and fall back to the CPU; a running one has the old one."""
    box = Box(tmp_path, 2, own_library=True)
    night.start(**box.environment())
    night.submit("a", args=LONG, spec=ONE)
    night.step("a-1", 3)
    box.set_driver(init=18)
    build(box.library)
    wait_for(lambda: "version mismatch" in night.log.read_text(), "the mismatch is seen")
    night.submit("b", args="--steps 3", spec=ONE)
    row = night.wait_state("b-1", "waiting")
    assert "NVML: RM has detected an NVML/RM version mismatch" in row["reason"]
    assert "reboot" in row["hint"].lower()
    assert len(gpus_of(night, "a-1")) == 1
    box.set_driver(init=0)
    wait_for(lambda: night.states()["b-1"] == "done", "after the module is loaded again")


def test_gpus_whose_driver_is_loaded_after_the_daemon_are_found(night: Night, box: Box) -> None:
    """As at boot: a host that had GPUs before does not train on its CPU meanwhile."""
    night.start(**box.environment())
    wait_for(lambda: "gpus_seen" in night.log.read_text(), "the GPUs are known")
    assert night.end() == 0
    box.file.rename(box.file.with_suffix(".away"))
    night.start(**box.environment())
    night.submit("a", args="--steps 3", spec="")
    row = night.wait_state("a-1", "waiting")
    assert row["reason"] == "It waits for a GPU: NVML: Driver Not Loaded."
    box.write()
    wait_for(lambda: night.states()["a-1"] == "done", "it trains")
    assert gpus_of(night, "a-1") == [["GPU-0000"]]


@pytest.mark.slow  # 35 seconds: the bound itself
def test_a_training_blocked_in_the_driver_costs_its_own_job_alone(night: Night, box: Box) -> None:
    """A process in an endless system call keeps the run's lock, as this one does here."""
    if os.geteuid() != 0:
        pytest.skip("takes a file descriptor of another process")
    night.start(**box.environment())
    for name in ("a", "b"):
        limits = '[limits]\nstop_grace = "1s"\n' if name == "a" else ""
        night.submit(name, args=LONG, spec=f"{ONE}{limits}")
        night.step(f"{name}-1", 3)
    wait_for(lambda: night.states().get("a-1") == "running", "the ledger knows of it")
    keeper = night.entries("a-1", "attempt_started")[0]["keeper_pid"]
    lock = stolen(keeper, night.home.run("a-1").lock)
    box.xid(0, 79)
    wait_for(lambda: "cannot be killed" in night.show("a-1")["reason"], "it is given up")
    row = night.show("a-1")
    assert (row["state"], len(row["attempts"])) == ("stopping", 1)
    assert "XID 79" in row["reason"]
    assert "reboot" in row["hint"]
    before = len(steps(night.work / "b"))
    night.step("b-1", before)
    night.submit("c", args="--steps 3", spec=ONE)
    wait_for(lambda: night.states().get("c-1") == "done", "another job gets another GPU")
    os.close(lock)
    wait_for(lambda: len(gpus_of(night, "a-1")) == 2, "it is resumed when the process has ended")
    assert gpus_of(night, "a-1")[1] == ["GPU-0002"]


def test_a_training_continues_on_the_model_that_it_began_on(night: Night, tmp_path: Path) -> None:
    """On another one its numbers would differ."""
    box = Box(tmp_path, 4)
    for number in (0, 2):
        box.set(number, uuid=f"GPU-T4-{number}")
    box.set(0, free=0)
    box.set(2, free=0)
    night.start(**box.environment())
    night.submit("a", args=LONG, spec=ONE)
    night.step("a-1", 3)
    assert gpus_of(night, "a-1") == [["GPU-0001"]]
    box.set(0, free=81000)
    box.set(2, free=81000)
    wait_for(lambda: night.states().get("a-1") == "running", "the ledger knows of it")
    box.xid(1, 79)
    wait_for(lambda: len(gpus_of(night, "a-1")) == 2, "it is resumed")
    assert gpus_of(night, "a-1")[1] == ["GPU-0003"]


def test_a_training_that_crashes_with_its_gpu_is_no_failure_of_its_own(
    night: Night, tmp_path: Path
) -> None:
    """Its exception reaches the keeper before the daemon has asked it to end."""
    box = Box(tmp_path, 2)
    night.start(**box.environment())
    flag = night.work / "fail"
    night.submit_command(
        "a",
        "-c",
        "import os, pathlib, sys, time\n"
        f"flag = pathlib.Path({str(flag)!r})\n"
        "while not flag.exists(): time.sleep(0.01)\n"
        "sys.exit('CUDA_ERROR_ECC_UNCORRECTABLE' if '0000' in os.environ['CUDA_VISIBLE_DEVICES']"
        " else 0)",
        spec=ONE,
    )
    night.trainer("a-1", 1)
    wait_for(lambda: night.states().get("a-1") == "running", "the ledger knows of it")
    box.xid(0, 48)
    wait_for(box.xid_is_taken, "the event is taken")
    flag.touch()
    wait_for(lambda: night.states()["a-1"] == "done", "it is done on the other GPU")
    shown = night.show("a-1")
    assert shown["failures"] == 0
    assert shown["attempts"][0]["cause"] == "gpu_fault"

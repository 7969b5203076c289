"""The report of `verify-resume --gpu`: what it says, what it must not say, and without a GPU."""

import getpass
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fake_gpus import Box
from rig import environment

from rekindle.daemon.verify_resume import gpu_facts, gpu_report, gpu_script
from rekindle.daemon.verify_resume.gpu_facts import GpuFacts

SEEN = {
    "python": "3.12.1",
    "packages": {"keras": "3.15.1", "tensorflow": "2.21.0"},
    "backend": "tensorflow",
    "cuda": "12.5.1",
    "cudnn": "9",
    "gpus": [{"name": "NVIDIA H100", "capability": "9.0"}],
    "tf32": True,
    "jit": False,
    "op_determinism": False,
    "settings": {"XLA_FLAGS": "--xla_gpu_cuda_data_dir=/home/ana/cuda"},
}


def verb(*options: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "verify-resume", *options],
        capture_output=True,
        text=True,
        env=environment(**env),
        timeout=400,
    )


def test_the_report_names_what_decides_the_numbers_and_nobody() -> None:
    """One fenced block, to be pasted into a public issue."""
    user, host = getpass.getuser(), socket.gethostname()
    trial = [
        ("result", "resume failed"),
        ("", f"FileNotFoundError: '/data/{user}/x.npz' on {host}, ~/y.txt by {user}; dense/kernel"),
    ]
    facts = GpuFacts("AMD EPYC", "6.1", "580.00", {"driver": "580.00"}, tensorflow=SEEN)
    text = gpu_report.compose(facts, "0.1.0", trial)
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == ("```text", "```")
    assert "tensorflow            2.21.0 (built for CUDA 12.5.1, cuDNN 9)" in lines
    assert "seen by TensorFlow    NVIDIA H100 (compute capability 9.0)" in lines
    assert "environment           XLA_FLAGS=--xla_gpu_cuda_data_dir=<path>" in lines
    assert "FileNotFoundError: '<path>' on <host>, <path> by <user>; dense/kernel" in text


def test_the_report_holds_what_nvml_says_of_each_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults, reduced clocks and settings; a lost GPU hides no other."""
    box = Box(tmp_path, 3)
    box.set(0, errors=2, slow=0x40)
    box.set(1, error=15)
    for name, value in box.environment().items():
        monkeypatch.setenv(name, value)
    facts = gpu_facts.collect("/bin/false", {})
    text = gpu_report.compose(facts, "0.1.0", [])
    assert (
        "NVML                  driver 580.00.00, NVML 13.580.00.00, CUDA of the driver 13.0" in text
    )
    assert "GPU 0                 Fake H100, 79.6 GiB, " in text
    assert "  reduced clocks      hardware thermal slowdown" in text
    assert "  faults              2 uncorrected memory errors" in text
    assert "  faults              NVML: GPU is lost" in text
    assert "GPU 2                 Fake H100" in text
    assert "TensorFlow            failed: no answer (exit code 1)" in text
    assert "GPU-0" not in text, "a UUID names a card of somebody"


def test_an_nvml_that_hangs_is_a_line_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not keep the report from being printed."""
    box = Box(tmp_path, 1)
    box.set_driver(hang=1)
    for name, value in box.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(gpu_facts, "_NVML_S", 1.0)
    facts = gpu_facts.collect("/bin/false", {})
    assert facts.nvml_error == "no answer within 1 s"


@pytest.mark.slow  # imports TensorFlow
def test_without_a_gpu_nothing_is_trained_and_the_way_on_is_named() -> None:
    """On the CPU only if that is asked for."""
    done = verb("--gpu", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["verdict"] is None
    assert "trial                 not run: TensorFlow sees no GPU" in answer["gpu_report"]
    assert "`rekindle verify-resume --gpu --cpu`" in done.stderr


@pytest.mark.slow(30)  # trains two times, with kills
@pytest.mark.crash
def test_the_small_script_is_identical_after_kills_on_a_cpu(tmp_path: Path) -> None:
    """The report ends with the result of the trial."""
    done = verb("--gpu", "--cpu", "--kills", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    block = done.stdout[done.stdout.index("```text") :]
    assert "trial                 small script of rekindle; seed 0" in block
    assert "result                identical" in block
    assert block.count("\nkill ") == 2
    assert socket.gethostname() not in block
    assert "/tmp" not in block
    assert gpu_script.write(tmp_path).read_text() == gpu_script.SCRIPT

"""Kill trainings on a GPU, with PyTorch and JAX of this interpreter; skipped without one."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import proof

SCRIPTS = Path(__file__).parent / "scripts"
SEES_GPU = {
    "torch": "import torch, keras; assert torch.cuda.is_available()",
    "jax": "import jax, keras; assert jax.devices()[0].platform in ('gpu', 'cuda', 'rocm')",
}
VARIABLES = {
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    "jax": {
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    },
}

pytestmark = [pytest.mark.crash, pytest.mark.slow]


@functools.cache
def sees_gpu(backend: str) -> bool:
    """Return whether a library finds a GPU; in a process that ends and gives its memory back."""
    command = [sys.executable, "-c", SEES_GPU[backend]]
    env = {**os.environ, "KERAS_BACKEND": backend}
    return 0 == subprocess.run(command, env=env, capture_output=True).returncode


@pytest.fixture(params=["torch", "jax"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if not sees_gpu(request.param):
        pytest.skip(f"needs a GPU that {request.param} of {sys.executable} finds, and Keras")
    monkeypatch.setenv("STRIKE_USED", "jax,matplotlib,pandas,sklearn,torch")
    monkeypatch.setenv("STRIKE_DEVICES", "gpu")
    return str(request.param)


def lives(backend: str, folder: Path, script: str = "large_on_a_gpu") -> Lives:
    policy = CheckpointPolicy(every_steps=4, keep=3)
    made = Lives(folder, SCRIPTS / f"{script}.py", policy=policy, cold=True)
    env = {"CUDA_VISIBLE_DEVICES": "0", "KERAS_BACKEND": backend, **VARIABLES[backend]}
    made.change(python=sys.executable, env=env)
    return made


@pytest.mark.parametrize("script", ["large_on_a_gpu", "loop_on_backends"])
def test_a_state_that_is_copied_on_the_gpu_is_resumed_to_the_bit(
    backend: str, tmp_path: Path, script: str
) -> None:
    """SIGKILL between and within saves, SIGTERM; each relaunch proves it."""
    calm = driver.undisturbed(lives(backend, tmp_path / "calm", script))
    storm = lives(backend, tmp_path / "storm", script)
    blows = [
        Blow("before_rename", 4),
        Blow("in flight", 2, delay=0.002),
        Blow("batch", 9, signal.SIGTERM, delay=0.001),
        Blow("in_copy", 3),
    ]
    result = driver.stormy(storm, blows)
    assert len(result.kills) == len(blows), result.kills
    assert [] == driver.differences(calm.digests, result.digests), result.kills
    assert result.proved >= 3, result.proofs
    assert [] == [text for one in result.resumed for text in one["inexact"]]
    assert [] == [json.dumps(one) for one in storm.entries("warned")]
    assert "has no room" not in storm.log()


def test_a_copy_that_arrives_wrong_is_found_by_the_repeated_steps(
    backend: str, tmp_path: Path
) -> None:
    """So the state does go through copies on the GPU."""
    made = lives(backend, tmp_path)
    found = driver.proved_after("device", made, Blow("before_rename", 4))
    assert proof.DIFFERENT in found, (found, made.log())

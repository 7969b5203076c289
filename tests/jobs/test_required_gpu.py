"""A job that asks for a GPU is held before its first step where its library sees none.

Kinds of source: forum threads on nights trained on the CPU ("Skipping registering GPU devices",
"Could not find cuda drivers"), and scripts that hide GPUs for their data pipeline.
"""

import pytest

from rekindle.jobs.job import Resources
from rekindle.jobs.trainer import required_gpu
from rekindle.jobs.trainer.required_gpu import Devices

NONE = Devices(physical=0, visible=0, built=True)


@pytest.mark.parametrize(
    ("resources", "required"),
    [
        (Resources(), False),  # one GPU where the host has any: not said by the spec
        (Resources(gpus=0), False),
        (Resources(gpus=1), True),
        (Resources(gpus=4), True),
        (Resources(gpus=1, require_gpu=False), False),
        (Resources(require_gpu=True), True),
    ],
)
def test_only_a_spec_that_says_so_requires_a_gpu(resources: Resources, required: bool) -> None:
    assert resources.needs_gpu is required


@pytest.mark.parametrize(
    ("found", "says", "hint"),
    [
        (Devices(2, 0, True), "hides all 2 GPUs", "Remove that call"),
        (Devices(1, 0, True), "hides 1 GPU ", "Remove that call"),
        (Devices(0, 0, False), "built for the CPU only", "'tensorflow[and-cuda]'"),
        (Devices(0, 0, True, ""), "CUDA_VISIBLE_DEVICES is ''", "Do not set"),
        (Devices(0, 0, True, "-1"), "CUDA_VISIBLE_DEVICES is '-1'", "Do not set"),
        (Devices(0, 0, True, "GPU-1", ("/dev/nvidiactl",)), "may not open /dev/nvidiactl", "group"),
        (Devices(0, 0, True, "GPU-1"), "CUDA libraries or the driver", "nvidia-smi"),
        (Devices(0, 0, False, library="torch"), "PyTorch that was built for", "pip install torch."),
        (Devices(0, 0, True, "-1", library="torch"), "PyTorch sees no GPU", "Do not set"),
        (Devices(0, 0, False, library="jax"), "JAX that was built for", "'jax[cuda12]'"),
        (
            Devices(0, 0, True, library="jax", setting="JAX_PLATFORMS=cpu"),
            "JAX_PLATFORMS=cpu leaves GPUs out",
            "Remove that setting",
        ),
        (
            Devices(1, 0, True, library="jax", setting="JAX's default platform, cpu,"),
            "JAX's default platform, cpu, leaves GPUs out",
            "Remove that setting",
        ),
        (
            Devices(1, 0, True, library="torch", setting="KERAS_TORCH_DEVICE=cpu"),
            "PyTorch sees no GPU: KERAS_TORCH_DEVICE=cpu leaves GPUs out",
            "Remove that setting",
        ),
    ],
)
def test_the_reason_why_no_gpu_is_seen_is_named(found: Devices, says: str, hint: str) -> None:
    """With the edit or command that repairs it."""
    error = required_gpu.missing(found, 1, "/venv/bin/python")
    assert error is not None
    assert "`gpus = 1`" in error.what
    assert says in error.what
    assert hint in error.remedy


def test_one_visible_gpu_is_enough() -> None:
    assert required_gpu.missing(Devices(2, 1, True), 2, "python") is None


def test_a_job_without_gpus_in_its_spec_that_requires_one_is_told_so() -> None:
    error = required_gpu.missing(NONE, None, "python")
    assert error is not None
    assert "`require_gpu = true`" in error.what

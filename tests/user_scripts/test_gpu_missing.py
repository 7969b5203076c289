"""Trainings whose spec asks for a GPU, with a real TensorFlow that sees none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lives import Lives
from rig import ROOT, Rig

from rekindle.jobs.job import Resources

TRAIN = """
import os, sys, pathlib
{before}
import numpy as np, keras
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
{train}
pathlib.Path("trained").write_text("yes")
"""
FIT = "model.fit(np.zeros((8, 2)), np.zeros((8, 1)), epochs=2, verbose=0)"
LOOP = """
from rekindle.jobs import resumable
try:
    for step in resumable(steps=4, model=model):
        model.train_on_batch(np.zeros((8, 2)), np.zeros((8, 1)))
except Exception:
    pass
"""
HIDES = "import tensorflow as tf\ntf.config.set_visible_devices([], 'GPU')"


@pytest.mark.parametrize(
    ("resources", "train", "trains"),
    [
        (Resources(gpus=1), FIT, False),
        (Resources(gpus=2), LOOP, False),  # an `except` of the script does not let it go on
        (Resources(gpus=1, require_gpu=False), FIT, True),
    ],
)
def test_the_first_stage_ends_the_attempt_before_a_step(
    tmp_path: Path, resources: Resources, train: str, trains: bool
) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN.format(before=HIDES, train=train))
    lives = Lives(tmp_path / "lives", script)
    lives.change(resources=resources)
    try:
        lives.start()
        end = lives.wait()
    finally:
        lives.close()
    assert end["cause"] == ("done" if trains else "permanent"), lives.log()
    assert (lives.work / "trained").exists() is trains
    failed = lives.entries("failed")
    assert [one["error_type"] for one in failed] == ([] if trains else ["GpuMissing"])
    if not trains:
        assert lives.entries("resumed", "checkpoint_committed", "epoch_ended") == []
        assert f"`gpus = {resources.gpus}`" in failed[0]["message"]


def one_gpu(folder: Path) -> dict[str, str]:
    """Build the driver of the tests with one GPU; return the environment of a daemon with it."""
    library = folder / "libnvidia-ml.so.1"
    source = ROOT / "tests" / "fakes" / "nvml.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    (folder / "gpus.txt").write_text("GPU-0000 81559 81000 0 0\n")
    return {
        "LD_LIBRARY_PATH": str(folder),
        "FAKE_NVML": str(folder / "gpus.txt"),
        "CUDA_VISIBLE_DEVICES": "0",
    }


@pytest.mark.slow(20)  # three starts of TensorFlow under a daemon
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_job_that_would_train_on_the_cpu_is_held_once_and_not_retried(
    rig: Rig, tmp_path: Path
) -> None:
    """The driver shows GPUs, the job's TensorFlow is built for the CPU."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN.format(before="", train=FIT))
    for name, resources in (
        ("night", "gpus = 1"),
        ("cpu", "gpus = 1\nrequire_gpu = false"),
        ("default", ""),
    ):
        rig.drop(
            f'name = "{name}"\nscript = "{script}"\nworkdir = "{tmp_path}"\n'
            f"[resources]\n{resources}\n",
            f"{name}.toml",
        )
    rig.start("--until-idle", **one_gpu(tmp_path))
    held = rig.wait_state("night-1", "held")
    assert "TensorFlow sees no GPU" in held["reason"]
    assert "built for the CPU only" in held["reason"]
    assert f"{sys.executable} -m pip" in held["hint"]
    assert "`rekindle release night-1`" in held["hint"]
    assert "`require_gpu = false`" in held["hint"]
    rig.wait_state("cpu-1", "done")
    rig.wait_state("default-1", "done")
    shown = rig.show("night-1")
    assert [one["cause"] for one in shown["attempts"]] == ["permanent"]
    assert shown["failures"] == 0
    assert not (rig.home.run("night-1").checkpoints / "e0001-s00000001").exists()

"""A model is exported in every format and can be used without rekindle."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rig import ROOT, Rig, environment

from rekindle.state.run import checkpoints

HERE = ROOT / "tests/scripts/exporting"
# trains, exports and evaluates in separate processes: up to eight starts of TensorFlow
pytestmark = pytest.mark.slow


def trained(rig: Rig, kind: str, more: str = "") -> str:
    """Train a job of ``train.py`` by a daemon; return its id."""
    rig.drop(
        f'script = "{HERE / "train.py"}"\nargs = ["{kind}"]\nseed = 3\n'
        f'[checkpoint]\nevery = "epoch"\nkeep = 10\n{more}',
        f"{kind}.toml",
    )
    rig.start("--until-idle")
    assert rig.daemon is not None
    assert rig.daemon.wait(180) == 0, rig.log.read_text()[-3000:]
    assert rig.show(f"{kind}-1")["state"] == "done", rig.show(f"{kind}-1")
    return f"{kind}-1"


def accuracy(kind: str, *files: Path) -> float:
    """Evaluate an exported model in a new process without rekindle."""
    env = environment()
    del env["PYTHONPATH"]
    ran = subprocess.run(
        [sys.executable, HERE / "evaluate.py", kind, *files],
        env=env,
        text=True,
        capture_output=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return float(next(line for line in ran.stdout.splitlines() if "ACCURACY" in line).split()[1])


def test_every_format_reaches_the_recorded_accuracy_in_a_new_process(
    rig: Rig, tmp_path: Path
) -> None:
    """.keras, .weights.h5, TensorFlow checkpoint, safetensors; the architecture as JSON."""
    job = trained(rig, "plain", 'monitor = "val_accuracy"\n')
    epochs = {e["epoch"] + 1: e["logs"]["val_accuracy"] for e in rig.show(job)["epochs"]}
    out = tmp_path / "out"
    made = json.loads(
        rig.cli("export", job, "--epoch", "2", "--to", str(out / "m.keras"), "--json")
    )
    assert made["epoch"] == 2
    assert made["logs"]["val_accuracy"] == epochs[2]
    assert accuracy("plain", out / "m.keras") == pytest.approx(epochs[2], abs=1e-6)

    rig.cli("export", job, "--to", str(out / "a.json"))
    rig.cli("export", job, "--last", "--to", str(out / "{epoch:04d}-{val_accuracy:.2f}.weights.h5"))
    (weights,) = out.glob("0004-*.weights.h5")
    assert weights.name == f"0004-{epochs[4]:.2f}.weights.h5"
    assert accuracy("plain", weights, out / "a.json") == pytest.approx(epochs[4], abs=1e-6)

    rig.cli("export", job, "--best", "--to", str(out / "best.safetensors"))
    assert accuracy("plain", out / "best.safetensors", out / "a.json") == pytest.approx(
        max(epochs.values()), abs=1e-6
    )

    # the command of the report, as it is printed, in an empty folder
    [done] = json.loads(rig.cli("report", "--json"))["done"]
    assert (done["best"]["metric"], done["best"]["value"]) == ("val_accuracy", max(epochs.values()))
    _, *words = shlex.split(done["export"])
    (tmp_path / "empty").mkdir()
    subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "--home", rig.home.root, *words],
        cwd=tmp_path / "empty",
        env=environment(),
        check=True,
    )
    assert accuracy("plain", tmp_path / "empty" / f"{job}.keras") == pytest.approx(
        max(epochs.values()), abs=1e-6
    )

    # as in the article: a folder for tf.train.latest_checkpoint, which finds the last export
    rig.cli("export", job, "--epoch", "1", "--to", f"{out}/tf/")
    rig.cli("export", job, "--epoch", "3", "--to", str(out / "tf/cp-0003.ckpt"))
    assert {"cp-0001.ckpt.index", "cp-0003.ckpt.index", "checkpoint"} <= set(os.listdir(out / "tf"))
    assert accuracy("plain", out / "tf") == pytest.approx(epochs[3], abs=1e-6)

    before = (out / "m.keras").read_bytes()
    refused = rig.call("export", job, "--to", str(out / "m.keras"))
    assert refused.returncode == 2
    assert "exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert (out / "m.keras").read_bytes() == before
    rig.cli("export", job, "--epoch", "4", "--to", str(out / "m.keras"), "--force")
    assert accuracy("plain", out / "m.keras") == pytest.approx(epochs[4], abs=1e-6)
    rig.cli("export", job, "--epoch", "9", "--to", str(out / "n.keras"), code=3)
    rig.cli("export", job, "--to", str(out / "n.pth"), code=2)
    # no partial file is left, neither there nor in the run directory
    assert sorted(p.name for p in out.iterdir() if p.name.startswith(".")) == []
    assert list(rig.home.run(job).exports.iterdir()) == []


def test_a_model_with_custom_code_is_exported_by_its_script(rig: Rig, tmp_path: Path) -> None:
    """Without the script: the weights, and a hint for the rest. Nothing is trained."""
    job = trained(rig, "subclassed")
    wanted = rig.show(job)["epochs"][-1]["logs"]["val_accuracy"]
    run = rig.home.run(job)
    before = {c.name: c.read_manifest() for c in checkpoints.scan(run.checkpoints)}
    journal = run.journal.read_bytes()

    rig.cli("export", job, "--to", str(tmp_path / "w.safetensors"))
    assert accuracy("subclassed", tmp_path / "w.safetensors") == pytest.approx(wanted, abs=1e-6)

    refused = rig.call("export", job, "--to", str(tmp_path / "m.keras"))
    assert refused.returncode == 2
    assert "--run-script" in refused.stderr
    assert ".safetensors" in refused.stderr

    for name in ("m.keras", "m.weights.h5"):
        rig.cli("export", job, "--run-script", "--to", str(tmp_path / name))
        assert accuracy("subclassed", tmp_path / name) == pytest.approx(wanted, abs=1e-6)
    rig.cli("export", job, "--run-script", "--to", f"{tmp_path}/tf/")
    assert accuracy("subclassed", tmp_path / "tf") == pytest.approx(wanted, abs=1e-6)
    assert before == {c.name: c.read_manifest() for c in checkpoints.scan(run.checkpoints)}
    assert journal == run.journal.read_bytes()


def test_mixed_precision_and_averaged_weights_are_exported(rig: Rig, tmp_path: Path) -> None:
    """With a loss-scaling optimizer around the averaging one."""
    job = trained(rig, "mixed")
    wanted = rig.show(job)["epochs"][1]["logs"]["val_accuracy"]
    rig.cli("export", job, "--epoch", "2", "--to", str(tmp_path / "m.keras"))
    assert accuracy("mixed", tmp_path / "m.keras") == pytest.approx(wanted, abs=1e-6)
    rig.cli("export", job, "--epoch", "2", "--ema", "--to", str(tmp_path / "ema.safetensors"))
    rig.cli("export", job, "--epoch", "2", "--to", str(tmp_path / "raw.safetensors"))
    ema, raw = (tmp_path / f"{name}.safetensors" for name in ("ema", "raw"))
    assert ema.read_bytes() != raw.read_bytes()
    assert ema.stat().st_size > 0

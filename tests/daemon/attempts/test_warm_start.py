"""`warm_start`: a job begins with the weights of another, once, whatever happens to either."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from rig import ROOT, Rig

from rekindle.daemon.spec import parse as specs
from rekindle.state.errors import SpecError
from rekindle.state.run import checkpoints, tensors
from rekindle.state.run.checkpoints import Checkpoint

SCRIPT = ROOT / "tests/scripts/exporting" / "train.py"


def spec(kind: str, more: str = "", **top: str) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in top.items())
    return (
        f'script = "{SCRIPT}"\nargs = ["{kind}"]\nseed = 3\n{lines}'
        f'[checkpoint]\nevery = "epoch"\nkeep = 10\n{more}\n[retry]\nbackoff = "1s..1s"\n'
    )


def weights(checkpoint: Checkpoint) -> list[bytes]:
    """Of the model, without the states of random generators, in order."""
    arrays, metadata = tensors.load(checkpoint.state)
    entries = json.loads(metadata["state"])["variables"]["model"]
    return [
        arrays[f"model/{index:05d}"].tobytes()
        for index, (path, *_) in enumerate(entries)
        if "seed_generator" not in path
    ]


def found(rig: Rig, job: str, name: str) -> Checkpoint:
    return next(c for c in checkpoints.scan(rig.home.run(job).checkpoints) if c.name == name)


@pytest.mark.slow(30)  # four starts of TensorFlow
@pytest.mark.crash
def test_a_job_begins_with_the_best_weights_of_another_and_lives_through_kills(rig: Rig) -> None:
    """Optimizer fresh; killed and unkilled end alike, although the other job is gone by then."""
    rig.drop(spec("plain", 'monitor = "val_accuracy"', name="source"), "a.toml")
    # handed in before there is anything to begin with: it waits
    rig.drop(spec("slow", name="calm", warm_start="source-1"), "b.toml")
    rig.start()
    rig.wait_state("source-1", "done")
    best = next(c for c in rig.show("source-1")["checkpoints"] if c["best"])["name"]
    rig.wait_state("calm-1", "done")
    began = found(rig, "calm-1", "e0000-s00000000")
    assert weights(began) == weights(found(rig, "source-1", best))
    arrays, metadata = tensors.load(began.state)
    assert json.loads(metadata["state"])["variables"]["optimizer"][0][0].endswith("iteration")
    assert int(arrays["optimizer/00000"]) == 0
    receipt = rig.show("calm-1")["attempts"][0]["receipt"]
    assert f"source-1, {best}" in receipt["restored"][0]

    rig.drop(spec("slow", name="stormy", warm_start=f"source-1:{int(best[1:5])}"), "c.toml")
    rig.wait_epochs("stormy-1", 1)
    shutil.rmtree(rig.home.run("source-1").checkpoints)
    rig.trainer("stormy-1", 1).send(signal.SIGKILL)
    rig.wait_epochs("stormy-1", 2)
    rig.trainer("stormy-1", 2).send(signal.SIGKILL)
    rig.wait_state("stormy-1", "done")
    receipts = [a["receipt"] for a in rig.show("stormy-1")["attempts"]]
    assert len(receipts) == 3
    assert all(r["step"] > 0 for r in receipts[1:])
    ends = [
        checkpoints.latest_good(rig.home.run(job).checkpoints).checkpoint
        for job in ("calm-1", "stormy-1")
    ]
    calm, stormy = (tensors.load(end.state)[0] for end in ends if end is not None)
    assert calm.keys() == stormy.keys()
    assert [name for name in calm if not np.array_equal(calm[name], stormy[name])] == []

    # what does not fit is refused, and nothing is trained
    rig.drop(spec("wider", name="wider", warm_start="calm-1:last"), "d.toml")
    held = rig.wait_state("wider-1", "held")
    assert "(6, 16) there" in held["reason"]
    assert "(6, 17) here" in held["reason"]
    assert rig.entries("wider-1", "epoch_ended") == []


def test_a_source_that_is_not_there_holds_the_job_with_the_reason(rig: Rig) -> None:
    """An unknown job, and one whose checkpoints are gone; no attempt is started."""
    rig.drop(spec("plain", name="lost", warm_start="nobody-7"))
    rig.start()
    row = rig.wait_state("lost-1", "held")
    assert "nobody-7" in row["reason"]
    assert rig.show("lost-1")["hint"]
    assert rig.show("lost-1")["attempts"] == []
    rig.drop(spec("plain", name="empty", warm_start="lost-1"))
    row = rig.wait_state("empty-1", "held")
    assert "lost-1 has no good checkpoint" in row["reason"]


@pytest.mark.parametrize("value", ["a-1", "a-1:best", "a-1:last", "a-1:12"])
def test_a_spec_names_the_job_and_the_checkpoint(value: str, tmp_path: Path) -> None:
    """The id of a job, and which of its checkpoints."""
    text = f'command = ["x"]\nwarm_start = "{value}"\n'
    assert specs.parse(text.encode(), "a.toml", tmp_path).warm_start == value


@pytest.mark.parametrize("value", ["", "../a-1", "a-1:", "a-1:first", "a-1:-2", "a-1:best:7"])
def test_a_warm_start_that_means_nothing_is_refused(value: str, tmp_path: Path) -> None:
    """With the key and the way to write it."""
    text = f'command = ["x"]\nwarm_start = "{value}"\n'
    with pytest.raises(SpecError) as caught:
        specs.parse(text.encode(), "a.toml", tmp_path)
    assert caught.value.key == "warm_start"
    assert "pretrain-3:best" in caught.value.hint

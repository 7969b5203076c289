"""Last good, not last: whatever damages the newest checkpoint, the end is the same.

A real training is interrupted once; each damage is applied to a copy of its run directory.
"""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lives as driver
import numpy as np
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import checkpoints, digests, journal, tensors

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "guarded.py"


@dataclass
class Interrupted:
    """Hold the digests of an undisturbed run, and the same run killed at step 13 of 78."""

    calm: dict[str, str]
    killed: Lives


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interrupted]:
    root = tmp_path_factory.mktemp("last-good")
    policy = CheckpointPolicy(every_steps=5, keep=99)
    calm = driver.undisturbed(Lives(root / "calm", SCRIPT, args=["none"], policy=policy))
    killed = Lives(root / "killed", SCRIPT, args=["none"], policy=policy)
    report = killed.run.root / "report.jsonl"
    killed.start(Blow("step", 13), report)
    assert killed.wait()["signal"] == signal.SIGKILL
    report.unlink()
    assert newest(killed).name == "e0000-s00000010"
    yield Interrupted(calm.digests, killed)


def newest(lives: Lives) -> checkpoints.Checkpoint:
    return checkpoints.scan(lives.run.checkpoints)[0]


def flip_a_bit(path: Path) -> None:
    data = bytearray((path / checkpoints.STATE).read_bytes())
    data[len(data) // 2] ^= 1
    (path / checkpoints.STATE).write_bytes(data)


def truncate(path: Path) -> None:
    file = path / checkpoints.STATE
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 1)


def remove_the_state(path: Path) -> None:
    (path / checkpoints.STATE).unlink()


def empty_the_state(path: Path) -> None:
    (path / checkpoints.STATE).write_bytes(b"")


def empty_the_manifest(path: Path) -> None:
    (path / checkpoints.MANIFEST).write_bytes(b"")


def make_an_empty_folder(path: Path) -> None:
    (path.parent / "e0001-s00000030").mkdir()


def write_non_finite_variables(path: Path) -> None:
    """Write NaN with correct digests, as a trainer without a check would have."""
    arrays, metadata = tensors.load(path / checkpoints.STATE)
    first = next(
        name
        for name, array in arrays.items()
        if name.startswith("model/") and array.dtype == np.float32
    )
    arrays[first][...] = np.nan
    tensors.save(path / checkpoints.STATE, arrays, metadata)
    manifest = json.loads((path / checkpoints.MANIFEST).read_text())
    manifest["files"][checkpoints.STATE] = {
        "bytes": (path / checkpoints.STATE).stat().st_size,
        "sha256": digests.digest(path / checkpoints.STATE),
    }
    (path / checkpoints.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (flip_a_bit, "e0000-s00000010", "digest"),
        (truncate, "e0000-s00000010", "bytes instead of"),
        (remove_the_state, "e0000-s00000010", "state.safetensors is missing"),
        (empty_the_state, "e0000-s00000010", "has 0 bytes"),
        (empty_the_manifest, "e0000-s00000010", "manifest cannot be read"),
        (make_an_empty_folder, "e0001-s00000030", "manifest is missing"),
        (write_non_finite_variables, "e0000-s00000010", "non-finite"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_damaged_newest_checkpoint_is_quarantined_and_the_end_is_the_same(
    interrupted: Interrupted, tmp_path: Path, damage: Callable[[Path], None], name: str, reason: str
) -> None:
    """It is quarantined with its reason, an older one is used, no other is changed."""
    lives = interrupted.killed.copy(tmp_path)
    damage(newest(lives).path)
    kept = files(lives, without=name)
    result = driver.stormy(lives, [])
    receipt = result.resumed[-1]
    assert [name] == [refused["name"] for refused in receipt["refused"]]
    assert reason in receipt["refused"][0]["reason"]
    assert reason in (lives.run.quarantine / f"{name}.reason.txt").read_text()
    assert (lives.run.quarantine / name).is_dir()
    expected = "e0000-s00000010" if name != "e0000-s00000010" else "e0000-s00000005"
    assert expected == receipt["checkpoint"]
    assert receipt["step"] > 0
    after = files(lives, without=name)
    assert kept == {path: digest for path, digest in after.items() if path in kept}
    assert [] == driver.differences(interrupted.calm, result.digests)


def test_a_stale_temporary_folder_is_removed_and_the_end_is_the_same(
    interrupted: Interrupted, tmp_path: Path
) -> None:
    """The remains of an interrupted commit are never used as a checkpoint."""
    lives = interrupted.killed.copy(tmp_path)
    stale = lives.run.checkpoints / ".tmp-e0000-s00000015-4711"
    shutil.copytree(newest(lives).path, stale)
    kept = files(lives, without=stale.name)
    result = driver.stormy(lives, [])
    assert "e0000-s00000010" == result.resumed[-1]["checkpoint"]
    assert [] == result.resumed[-1]["refused"]
    assert not stale.exists()
    assert kept.items() <= files(lives).items()
    assert [] == driver.differences(interrupted.calm, result.digests)


def test_without_a_good_checkpoint_the_attempt_fails_permanently(
    interrupted: Interrupted, tmp_path: Path
) -> None:
    """Training starts over only on request, and then the end is the same."""
    lives = interrupted.killed.copy(tmp_path)
    every = checkpoints.scan(lives.run.checkpoints)
    for checkpoint in every:
        flip_a_bit(checkpoint.path)
    for _ in range(2):  # the second time they are in quarantine, hence missing
        lives.start()
        end = lives.wait()
        assert ("permanent", 78) == (end["cause"], end["exit_code"])
        failed = lives.entries("failed")[-1]
        assert "CheckpointsUnreadable" == failed["error_type"]
        assert "--from-scratch" in failed["hint"]
    refused = [entry["name"] for entry in lives.entries("checkpoint_refused")]
    assert sorted(checkpoint.name for checkpoint in every) == sorted(refused)
    assert 1 == len(lives.entries("resumed"))
    # what `rekindle retry --from-scratch` writes
    journal.append(lives.run.journal, "scratch_requested", attempt=lives.attempt)
    for file in lives.work.iterdir():
        file.unlink()
    result = driver.stormy(lives, [])
    assert (None, 0) == (result.resumed[-1]["checkpoint"], result.resumed[-1]["step"])
    assert [] == driver.differences(interrupted.calm, result.digests)


def files(lives: Lives, *, without: str = "") -> dict[str, str]:
    """Digests of all files of all checkpoints but one."""
    return {
        str(file.relative_to(lives.run.checkpoints)): hashlib.sha256(file.read_bytes()).hexdigest()
        for checkpoint in checkpoints.scan(lives.run.checkpoints)
        if checkpoint.name != without
        for file in checkpoint.path.iterdir()
    }

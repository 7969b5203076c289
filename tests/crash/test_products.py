"""ModelCheckpoints of a script write the files of an undisturbed run, whatever killed it."""

import hashlib
import io
import re
import signal
import zipfile
from pathlib import Path

import h5py
import lives as driver
import numpy as np
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]


def contents(folder: Path) -> dict[str, str]:
    """List each file that the callbacks wrote, with a digest of its arrays and settings."""
    return {
        str(file.relative_to(folder)): _digest(file)
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".h5", ".keras")
    }


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    data = file.read_bytes()
    if file.suffix == ".keras":
        with zipfile.ZipFile(file) as archive:
            # metadata.json contains the time of saving, and the configuration contains addresses,
            # which differ between processes
            config = archive.read("config.json").decode()
            found.update(re.sub(r'"shared_object_id": \d+', "", config).encode())
            data = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(data)) as weights:

        def add(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                found.update(name.encode() + np.asarray(item[()]).tobytes())

        weights.visititems(add)
    return found.hexdigest()


def test_checkpoints_of_the_script_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    """Names with epochs and metrics, the best only, every fifth batch, weights only or all."""
    calm = _lives(tmp_path / "calm")
    driver.undisturbed(calm)
    wanted = contents(calm.work)
    kinds = {name.split("/")[0] for name in wanted}
    assert kinds == {"weights", "metrics", "best", "bar", "batches"}
    assert sum(name.startswith("weights") for name in wanted) == 6
    # if every epoch were the best one, this would prove nothing
    assert 1 < sum(name.startswith("best") for name in wanted) < 6
    storm = _lives(tmp_path / "storm")
    # epochs of 13 steps: each blow that must hit mid-epoch is far from 13 and 26
    result = driver.stormy(
        storm,
        [
            Blow("batch", 18, signal.SIGKILL),
            Blow("batch", 5, signal.SIGTERM),
            Blow("before the line epoch_ended", 1, signal.SIGKILL),
            Blow("validation", 2, signal.SIGTERM),
        ],
    )
    print(result.kills, [f"e{r['epoch']}-s{r['step']}" for r in result.resumed])
    assert len(result.kills) >= 3
    assert result.in_mid_epoch >= 2
    assert contents(storm.work) == wanted


def _lives(root: Path) -> Lives:
    return Lives(
        root,
        Path(__file__).parent / "scripts" / "products.py",
        policy=CheckpointPolicy(every_steps=4, keep=2),
    )

"""A relaunch restores a large checkpoint that its keeper has verified while it imported."""

from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy
from rekindle.state.run import checkpoints

WIDE = Path(__file__).parent / "scripts" / "wide.py"

pytestmark = [pytest.mark.crash, pytest.mark.slow(25)]


def killed(folder: Path) -> Lives:
    """Kill the first attempt, with three checkpoints behind it."""
    made = Lives(folder, WIDE, policy=CheckpointPolicy(every_steps=4, keep=3), cold=True)
    made.start(Blow("step", 11), made.run.root / "report.jsonl")
    made.wait()
    return made


def test_the_trainer_reads_no_digest_of_it(tmp_path: Path) -> None:
    calm = driver.undisturbed(Lives(tmp_path / "calm", WIDE, cold=True))
    made = killed(tmp_path / "struck")
    # a trainer that verifies by itself fails
    made.start(fault="no_verify")
    assert made.wait()["cause"] == "done", made.log()
    result = made.result()
    assert result.resumes == 1
    ends = {name for name in calm.digests if "-end:" in name or name.startswith("file:")}
    assert ends
    assert {name: calm.digests[name] for name in ends} == {
        name: result.digests.get(name) for name in ends
    }


def test_a_damaged_one_is_refused_and_the_one_before_is_restored(tmp_path: Path) -> None:
    made = killed(tmp_path)
    newest = checkpoints.scan(made.run.checkpoints)[0]
    with newest.state.open("r+b") as file:
        file.seek(newest.state.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    made.start()
    assert made.wait()["cause"] == "done", made.log()
    (refused,) = made.entries("checkpoint_refused")
    assert refused["name"] == newest.name
    (receipt,) = [one for one in made.entries("resumed") if one["attempt"] == 2]
    assert 0 < receipt["step"] < newest.position.step

"""An engine that is wrong on purpose is found out, by which means and at which repeated step.

``REKINDLE_FAULTS_RECORD=FILE`` writes the rows of the table in docs/reliability.md.
"""

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from lives import Blow, Lives

from rekindle.jobs.job import CheckpointPolicy

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SCRIPT = Path(__file__).parent / "scripts" / "faulty.py"
RECORD = os.environ.get("REKINDLE_FAULTS_RECORD")
EVERY, KILLED = 12, 23
"""Steps between checkpoints, and the step of the kill: 11 are repeated, over an epoch's start."""


class Found(NamedTuple):
    """Hold by which means a fault was found.

    Attributes:
        restored: the round trip, or the digest of everything reachable, named it.
        step: the first repeated step that differs, 1-based; None if none does.
        group: the first group that differs there; None where it is not known.
        loss: the loss differs there.
    """

    restored: str | None
    step: int | None
    group: str | None
    loss: bool


@pytest.fixture(autouse=True)
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let digests take their time: on a busy machine theirs is over before the first step."""
    monkeypatch.setenv("STRIKE_AHEAD", "1")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Lives]]:
    """Each training of the script, killed once."""
    made: dict[str, Lives] = {}
    yield made
    for lives in made.values():
        lives.close()


def relaunch(killed: dict[str, Lives], root: Path, name: str, fault: str) -> Found:
    """Relaunch a killed training with a wrong engine, to its end."""
    if name not in killed:
        lives = Lives(
            root / "killed", SCRIPT, args=[name], policy=CheckpointPolicy(every_steps=EVERY)
        )
        report = lives.run.root / "report.jsonl"
        lives.start(Blow("step", KILLED), report)
        assert lives.wait()["signal"] == signal.SIGKILL, lives.log()
        killed[name] = lives
    lives = killed[name].copy(root / "faulty")
    lives.start(fault=fault)
    assert lives.wait()["cause"] in ("done", "permanent"), lives.log()
    receipt = lives.entries("resumed")[1]
    assert (receipt["step"], receipt["lost_steps"]) == (EVERY, KILLED - EVERY)
    proved = [e for e in lives.entries("proved") if e["attempt"] == lives.attempt]
    said = [text for text in receipt["inexact"] if "is not that of the checkpoint" in text]
    said += [text for entry in proved for text in entry.get("state", [])]
    differs = next((e["differs"] for e in proved if e["differs"]), None)
    found = Found(
        said[0].partition("checkpoint: ")[2].partition(";")[0] if said else None,
        differs["step"] - EVERY if differs else None,
        differs["group"] if differs else None,
        bool(differs) and differs["loss"] != differs["was"],
    )
    print(name, fault, found)
    if RECORD:
        with open(RECORD, "a") as file:
            loss = f"step {found.step}" if found.loss else "not at first"
            file.write(
                f"| {name}, {fault} | {found.restored or 'nothing'} | "
                f"{f'step {found.step}, {found.group}' if found.group else 'nothing'} | "
                f"{loss if found.step else 'nothing'} |\n"
            )
    return found


def test_an_engine_that_is_right_is_not_accused(killed: dict[str, Lives], tmp_path: Path) -> None:
    assert relaunch(killed, tmp_path, "plain", "") == Found(None, None, None, loss=False)


@pytest.mark.parametrize(
    ("fault", "group", "named"),
    [
        ("weight", "model", "model variable sequential/dense/kernel (1 of 192 elements differ"),
        ("slot", "optimizer", "optimizer variable adam/sequential_dense_kernel_momentum"),
        ("generator", "seeds", "seed generator"),
        ("numpy", "seeds", "numpy's random generator"),
        ("attribute", "optimizer", "Clipped"),
    ],
)
def test_a_wrong_restore_is_named_and_found_at_the_first_repeated_step(
    fault: str, group: str, named: str, killed: dict[str, Lives], tmp_path: Path
) -> None:
    """By the digest of the variables, whatever the loss of that step shows."""
    found = relaunch(killed, tmp_path, "plain", fault)
    assert found.restored is not None
    assert named in found.restored
    assert (found.step, found.group) == (1, group)


def test_another_order_of_the_samples_is_found_at_the_first_repeated_step(
    killed: dict[str, Lives], tmp_path: Path
) -> None:
    """No checkpoint holds the order, so that a round trip cannot see it."""
    found = relaunch(killed, tmp_path, "plain", "order")
    assert (found.restored, found.step, found.group) == (None, 1, "data")


def test_a_cache_that_is_filled_in_another_order_is_found_at_the_first_repeated_step(
    killed: dict[str, Lives], tmp_path: Path
) -> None:
    found = relaunch(killed, tmp_path, "cached", "cache")
    assert found.restored is not None
    assert "hidden.caches" in found.restored
    assert (found.step, found.group) == (1, "data")


@pytest.mark.skipif(
    not find_spec(".python_state", "rekindle.jobs"), reason="closures and globals are not captured"
)
@pytest.mark.parametrize("name", ["closure", "shared", "average"])
def test_python_state_that_is_not_restored_is_named(
    name: str, killed: dict[str, Lives], tmp_path: Path
) -> None:
    """A count in the closure of a schedule, a shared dictionary, a second model of a callback."""
    assert relaunch(killed, tmp_path, name, "python").restored is not None

"""Each recipe of docs/recipes, killed once, ends as if nobody had killed it."""

import importlib.util
import os
import re
import signal
import zipfile
from pathlib import Path

import lives as driver
import pytest
from lives import Blow, Lives
from rig import ROOT, Rig, wait_for

from rekindle.daemon import config
from rekindle.jobs.job import CheckpointPolicy

pytestmark = pytest.mark.slow(40)

SCRIPTS = ROOT / "examples" / "recipes"
PAGES = ROOT / "docs" / "recipes"
# the step at which it is killed: in mid-epoch, and after the first training where there are several
KILLS = {
    "tf_data": 100,
    "custom_loop": 100,
    "cross_validation": 130,
    "tuner": 70,
    "legacy_keras": 100,
}
NEEDS = {"tuner": "keras_tuner", "legacy_keras": "tf_keras"}


def test_each_recipe_is_shown_by_a_page_and_tested() -> None:
    shown = "\n".join(page.read_text() for page in PAGES.glob("*.md"))
    files = sorted(SCRIPTS.iterdir())
    link = "(../../examples/recipes/{})"
    assert [] == [file.name for file in files if link.format(file.name) not in shown]
    assert {file.stem for file in files if file.suffix == ".py"} == {*KILLS, "fine_tuning"}


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_recipe_ends_as_the_undisturbed_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Final state, metrics of each epoch, and every file that the script writes."""
    monkeypatch.setenv("STRIKE_USED", "sklearn")
    if (needed := NEEDS.get(name)) and importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}")

    def lives(folder: str) -> Lives:
        policy = CheckpointPolicy(every_steps=7, keep=2)
        # a warm interpreter has imported Keras 3, beside which tf_keras is not followed
        return Lives(
            tmp_path / folder, SCRIPTS / f"{name}.py", policy=policy, cold=name == "legacy_keras"
        )

    calm = driver.undisturbed(lives("calm"))
    storm = driver.stormy(lives("storm"), [Blow("batch", KILLS[name], signal.SIGKILL, delay=0.001)])
    assert len(storm.kills) == 1
    assert storm.resumes >= 1, storm.resumed
    assert storm.in_mid_epoch >= 1, storm.resumed
    assert [] == driver.differences(calm.digests, storm.digests)
    assert models(tmp_path / "calm") == models(tmp_path / "storm") != {}
    assert [] == [caveat for one in storm.resumed for caveat in one["inexact"]]


def models(folder: Path) -> dict[str, bytes]:
    """Read weights and optimizers of the models that a script has saved.

    Beside them a `.keras` file has the time and addresses of objects.
    """
    found = {file.name: file.read_bytes() for file in sorted(folder.rglob("work/**/*.h5"))}
    for file in sorted(folder.rglob("work/**/*.keras")):
        with zipfile.ZipFile(file) as archive:
            found[file.name] = archive.read("model.weights.h5")
    return found


def test_fine_tuning_begins_with_the_weights_of_the_other_job(rig: Rig, tmp_path: Path) -> None:
    """By the specs of the page and a real daemon; the tuning is killed, its twin is not."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for file in SCRIPTS.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    rig.start()
    rig.cli("submit", str(folder / "pretrain.toml"))
    rig.cli("submit", str(folder / "tune.toml"), "--every", "3 steps")
    wait_for(
        lambda: any(e["step"] > 40 for e in rig.entries("tune-1", "checkpoint_committed")),
        "the tuning trains",
        200,
    )
    trainer = rig.show("tune-1")["attempts"][-1]["trainer_pid"]
    os.kill(trainer, signal.SIGKILL)
    rig.cli("wait", "tune-1", "--timeout", "200 s")
    rig.cli("submit", str(folder / "tune.toml"), "--every", "3 steps")
    rig.cli("wait", "tune-2", "--timeout", "200")
    killed, twin = rig.show("tune-1"), rig.show("tune-2")
    assert [one["cause"] for one in killed["attempts"]] == ["crash", "done"]
    assert killed["attempts"][1]["receipt"]["step"] > 40
    assert "pretrain-1" in str(killed["attempts"][0]["receipt"])
    assert len(twin["attempts"]) == 1
    for one in ("tune-1", "tune-2"):
        rig.cli("export", one, "--to", str(tmp_path / f"{one}.weights.h5"))
    written = [(tmp_path / f"tune-{n}.weights.h5").read_bytes() for n in (1, 2)]
    assert written[0] == written[1]


def test_the_configuration_of_the_shared_host_is_accepted() -> None:
    [text] = re.findall(
        r"^```toml\n(.*?)^```", (PAGES / "shared-host.md").read_text(), re.DOTALL | re.MULTILINE
    )
    read = config.parse(text.encode(), "rekindle.toml")
    assert (read.umask, read.per_user.max_gpus) == (0o002, 2)

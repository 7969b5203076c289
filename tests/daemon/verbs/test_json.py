"""The JSON of the verbs has the fields that docs/json.md describes."""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

from rig import ROOT, Rig

from rekindle.state.ledger import held_time

PAGE = (ROOT / "docs" / "json.md").read_text()

# commits one checkpoint, then fails; finds it in the next attempt, and is done
COMMAND = """
import os, pathlib, sys
folder = pathlib.Path(os.environ["REKINDLE_RUN_DIR"]) / "checkpoints"
if os.environ["REKINDLE_CHECKPOINT"]:
    assert os.environ["REKINDLE_CHECKPOINT"] == str(folder / "e0001-s00000010")
    assert os.environ["REKINDLE_INITIAL_EPOCH"] == "1"
    sys.exit(0)
(folder / ".tmp-x").mkdir()
(folder / ".tmp-x" / "weights.bin").write_bytes(b"w")
os.rename(folder / ".tmp-x", folder / "e0001-s00000010")
sys.exit(1)
"""


def documented(heading: str) -> set[str]:
    """List the fields of the first table after a heading or a line of the page."""
    table = PAGE.split(heading, 1)[1].split("| field | is |", 1)[1].split("\n\n", 1)[0]
    names: set[str] = set()
    for first in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        names |= set(re.findall(r"`(\w+)`", first))
    return names


def fields(value: dict[str, Any]) -> set[str]:
    """List the fields of a value; `format` is described for the whole page."""
    return set(value) - {"format"}


def test_ls_and_show_print_the_documented_fields(rig: Rig, tmp_path: Path) -> None:
    """For a command job that failed once and was resumed from its checkpoint."""
    (tmp_path / "job.py").write_text(COMMAND)
    rig.drop(
        f"command = [{json.dumps(sys.executable)}, 'job.py']\nworkdir = '{tmp_path}'\n"
        "[retry]\nbackoff = '1s..2s'\n",
        "count.toml",
    )
    assert rig.start("--until-idle").wait(90) == 0

    listed = json.loads(rig.cli("ls", "--json"))
    shown = rig.show("count-1")
    pruned = json.loads(rig.cli("prune", "--json"))
    examined = json.loads(rig.cli("doctor", "--no-imports", "--json", code=None))

    assert documented("## `rekindle prune --json`") == fields(pruned)
    assert documented("## `rekindle doctor --json`") == fields(examined)
    assert pruned["format"] == examined["format"] == 2
    assert shown["state"] == "done", rig.cli("logs", "--all", "count-1")
    assert listed["format"] == shown["format"] == 2
    assert documented("## `rekindle ls --json`") == fields(listed)
    assert documented("Each of `jobs`:") == fields(listed["jobs"][0])
    assert documented("## `rekindle show JOB --json`") == fields(shown)
    assert documented("Its `time`, in seconds") == fields(shown["time"])
    assert set(held_time.LOSSES) == set(shown["time"]["losses"])
    # nobody counts the time of a command
    assert shown["time"]["unknown"] > 0
    assert shown["time"]["ettr"] is None
    reported = json.loads(rig.cli("report", "--json"))
    assert documented("## `rekindle report --json`") == fields(reported)
    assert documented("The `headline`:") == fields(reported["headline"])
    [done] = reported["done"]
    assert documented("Each of `done`:") == fields(done)
    for name in ("attempts", "checkpoints", "events"):
        assert shown[name], f"no {name} to compare with"
        for item in shown[name]:
            assert documented(f"Each of `{name}`:") == fields(item)
    first, second = shown["attempts"]
    assert (first["from_epoch"], first["to_epoch"], first["exit_code"]) == (0, 1, 1)
    assert (second["from_epoch"], second["from_step"], second["outcome"]) == (1, 10, "done")
    assert first["seconds"] > 0
    assert first["gpus"] is None or isinstance(first["gpus"], list)
    assert [c["name"] for c in shown["checkpoints"]] == ["e0001-s00000010"]
    assert shown["checkpoints"][0]["good"]


def test_verify_prints_the_documented_fields(rig: Rig) -> None:
    """For a sound home, and for one with a run directory without a job."""
    rig.drop("command = ['true']\nworkdir = '/'\n", "a.toml")
    assert rig.start("--until-idle").wait(90) == 0
    sound = json.loads(rig.cli("verify", "--json"))
    (rig.home.run("a-1").job_file).write_text("{}")
    rig.home.run("stranger-1").root.mkdir()
    found = json.loads(rig.cli("verify", "--json", code=None))
    assert (sound["format"], sound["sound"], sound["findings"]) == (2, True, [])
    assert documented("## `rekindle verify --json`") == fields(sound) == fields(found)
    assert found["findings"]
    for finding in found["findings"]:
        assert documented("Each of `findings`:") == fields(finding)
        assert finding["severity"] in ("error", "warning")
    assert found["sound"] is not any(f["severity"] == "error" for f in found["findings"])


def test_show_prints_the_documented_fields_of_epochs() -> None:
    """A command job has no epochs: the code that prints them is compared instead."""
    code = (ROOT / "daemon" / "verbs" / "show.py").read_text()
    for name in documented("Each of `epochs`, one for each that has ended:"):
        assert f'"{name}"' in code


def test_each_field_that_a_verb_writes_is_described() -> None:
    """Of all verbs, also of those whose output no test here makes."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    lacking = []
    seen = 0
    for file in sorted((ROOT / "daemon" / "verbs").glob("*.py")):
        verb = file.stem.replace("_", "-")
        about = "".join(s for s in sections if re.search(rf"`(rekindle )?{verb}\b(?!-)", s))
        if verb == "verify-resume":
            about = (ROOT / "docs" / "verify-resume.md").read_text()
        for name in written(file):
            seen += 1
            lacking += [] if f"`{name}`" in about else [f"{verb}: {name}"]
    assert seen > 40
    assert [] == lacking


def written(file: Path) -> set[str]:
    """List the names of fields that a module gives to `json_text.write`."""
    return {
        key.value
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "json_text.write"
        if node.args and isinstance(node.args[0], ast.Dict)
        for key in node.args[0].keys
        if isinstance(key, ast.Constant)
    }

"""`rekindle init` writes a spec that is valid as it is, and with each key uncommented."""

import re
import tomllib
from pathlib import Path

import pytest

from rekindle.daemon.client import cli
from rekindle.daemon.spec import parse
from rekindle.daemon.spec.job_fields import SPEC, WHAT_RUNS
from rekindle.daemon.submission import starter
from rekindle.jobs.job import Job

KEY = re.compile(r"# (\w+ = .*)")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "train.py").write_text("import keras\n")
    return tmp_path


def written(folder: Path) -> list[str]:
    assert cli.main(["init"]) == 0
    return (folder / "train.toml").read_text().splitlines()


def parsed(lines: list[str], folder: Path) -> Job:
    return parse.parse("\n".join(lines).encode(), "train.toml", folder)


def test_it_is_valid_as_it_is_and_says_what_the_default_is(folder: Path) -> None:
    """The job is the one of a spec that names the script alone."""
    plain = parsed(['name = "train"', 'script = "train.py"'], folder)
    assert parsed(written(folder), folder) == plain


def test_each_key_can_be_uncommented(folder: Path) -> None:
    lines = written(folder)
    keys = [number for number, line in enumerate(lines) if KEY.fullmatch(line)]
    found = set()
    for number in keys:
        line = lines[number][2:]
        changed = [*lines[:number], line, *lines[number + 1 :]]
        parsed(changed, folder)
        found.add(line.partition(" ")[0])
    every = {field.name for section in SPEC.sections for field in section.fields}
    every |= {field.name for field in SPEC.fields} - {*WHAT_RUNS, "name"}
    every |= {name for one in SPEC.sections if one.free for name in one.free.example}
    assert found == every
    # and all at once
    parsed([KEY.sub(r"\1", line) for line in lines], folder)


def test_the_spec_that_it_prints_can_be_submitted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(folder)
    said = capsys.readouterr().out
    commands = re.findall(r"`rekindle (submit [^`]*)`", said)
    assert commands == ["submit train.toml --dry-run", "submit train.toml"]
    words = [*commands[1].split(), "--queue"]
    assert cli.main(["--home", str(folder / "home"), *words]) == 0
    (spec,) = (folder / "home" / "inbox").glob("*.toml")
    assert tomllib.loads(spec.read_text())["script"] == "train.py"


def test_an_existing_spec_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = folder / "train.toml"
    spec.write_text("mine")
    assert cli.main(["init", "train.py"]) == 2
    assert spec.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert cli.main(["init", "train.py", "--force"]) == 0
    assert spec.read_text() != "mine"


def test_it_finds_the_script_that_trains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the helper beside it; where there are two, a person says which."""
    (folder / "helpers.py").write_text("import os\n")
    assert cli.main(["init"]) == 0
    (folder / "other.py").write_text("import tensorflow\n")
    assert cli.main(["init"]) == 2
    said = capsys.readouterr().err
    assert "other.py, train.py" in said
    assert "`rekindle init other.py`" in said
    (folder / "train.py").unlink()
    (folder / "other.py").unlink()
    assert cli.main(["init"]) == 2
    assert "No script" in capsys.readouterr().err


def test_the_active_environment_is_written_into_it(tmp_path: Path) -> None:
    content = starter.text(name="a", script=tmp_path / "a.py", python="/x/bin/python")
    assert 'python = "/x/bin/python"' in content.splitlines()

"""`submit --dry-run` submits nothing, and finds what would keep the job from running."""

import json
from pathlib import Path
from typing import Any

import pytest

from rekindle.daemon.client import cli
from rekindle.daemon.spec import parse
from rekindle.state.paths import Home


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.chdir(made)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    (made / "train.py").write_text("print(1)\n")
    return made


def tried(
    folder: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int
) -> dict[str, Any]:
    home = folder.parent / "home"
    assert cli.main(["--home", str(home), "submit", "--dry-run", "--json", *words]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["fine"] is (code == 0)
    assert not home.exists(), "it made a home"
    return answer


@pytest.mark.slow  # it imports Keras
def test_it_shows_the_spec_and_tries_the_interpreter(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its spec is accepted as it stands."""
    (folder / "large.py").write_bytes(b"#" * (9 * 2**20))
    answer = tried(folder, capsys, "train.py", "--gpus", "0", "--", "a", code=0)
    job = parse.parse(answer["spec"].encode(), answer["file"], folder)
    assert (job.name, job.args, job.resources.gpus) == ("train", ["a"], 0)
    found = [f"{one['check']} {one['severity']}: {one['what']}" for one in answer["findings"]]
    for text in ("code ok: Snapshot of", "1 file,", "large.py (has 9", "interpreter ok: "):
        assert any(text in one for one in found), (text, found)


def test_what_keeps_it_from_running_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A job that does not exist; an interpreter that does not start."""
    broken = tmp_path / "python"
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    words = ("train.py", "--python", str(broken), "--after", "other-1")
    answer = tried(folder, capsys, *words, code=1)
    errors = {one["check"]: one["what"] for one in answer["findings"] if one["severity"] == "error"}
    assert "no such job" in errors["jobs"]
    assert str(broken) in errors["interpreter"]


def test_a_command_needs_no_interpreter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "c.toml").write_text('command = ["true"]\n')
    home = Home(folder.parent / "home")
    assert cli.main(["--home", str(home.root), "submit", "--dry-run", "c.toml"]) == 0
    said = capsys.readouterr().out
    assert 'command = ["true"]' in said
    assert "Nothing was submitted." in said

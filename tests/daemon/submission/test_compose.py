"""A script, a spec and options make the spec that a person means; what is wrong names its origin.

Kinds of source: `submit` knew two keys, so that every other one needed a file; a job that ran in
the daemon's Python while the shell showed another environment; paths with an emoji.
"""

import argparse
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rekindle.daemon.client import cli
from rekindle.daemon.spec.job_fields import SPEC
from rekindle.daemon.submission import active_python, compose, options
from rekindle.daemon.submission.compose import Composed
from rekindle.state.errors import SpecError, UsageError

NO_ENVIRONMENT: dict[str, str] = {}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "train.py"
    made.write_text("print(1)\n")
    return made


def submitted(*words: str) -> Composed:
    """Compose what `submit` would, without an active environment."""
    at = words.index("--") if "--" in words else len(words)
    args = cli.verb_parser("submit").parse_args(list(words[:at]), argparse.Namespace())
    given = options.given(args)
    behind = list(words[at + 1 :])
    if args.file.suffix == ".py":
        return compose.for_script(args.file, args=behind, given=given, env=NO_ENVIRONMENT)
    return compose.for_spec(args.file, args=behind, given=given, env=NO_ENVIRONMENT)


def test_each_key_of_a_spec_is_an_option() -> None:
    """But those that say what runs; no option of `submit` has the name of a key."""
    keys = {field.name for section in SPEC.sections for field in section.fields}
    keys |= {field.name for field in SPEC.fields} - {"script", "module", "command", "args"}
    assert set(options.KEYS) == keys
    listed = cli.verb_parser("submit").options()
    assert len(listed) == len(set(listed))
    assert {key.option for key in options.KEYS.values()} <= set(listed)


def test_options_become_the_values_of_a_spec(script: Path) -> None:
    job = submitted(
        "train.py",
        *("--gpus", "2", "--every", "10 min", "--name", "x", "--memory", "16GiB"),
        *("--after", "a-1", "--after", "b", "--env", "A=1=2", "--env", "B=", "--live"),
        *("--no-require-gpu", "--max-runtime", "8h", "--window", "22:00-07:00"),
        *("--", "--epochs", "5"),
    ).job
    assert (job.name, job.args, job.after) == ("x", ["--epochs", "5"], ["a-1", "b"])
    assert (job.resources.gpus, job.resources.memory) == (2, 16 * 2**30)
    assert job.resources.require_gpu is False
    assert job.checkpoint.every_seconds == 600
    assert (job.env, job.live) == ({"A": "1=2", "B": ""}, True)
    assert job.limits.max_runtime == 8 * 3600
    assert job.script == str(script)


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["--gpus", "two"], "--gpus"),
        (["--gpus", "-1"], "--gpus"),
        (["--every", "often"], "--every"),
        (["--name", "No Name"], "--name"),
        (["--python", "/nowhere/python"], "--python"),
        (["--warm-start", "a b"], "--warm-start"),
        (["--env", "REKINDLE_X=1"], "--env"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_named(script: Path, words: list[str], where: str) -> None:
    with pytest.raises(SpecError) as refused:
        submitted("train.py", *words)
    assert refused.value.where == where
    assert refused.value.hint


def test_a_variable_without_value_is_wrong_usage(script: Path) -> None:
    with pytest.raises(UsageError, match="--env takes a name and a value"):
        submitted("train.py", "--env", "A")


def test_an_option_replaces_what_a_spec_says(script: Path) -> None:
    """In TOML and YAML, in sections that exist and that do not; all else stays."""
    toml = script.with_name("a.toml")
    toml.write_text('script = "train.py"\nargs = ["1"]\nseed = 3\n[checkpoint]\nkeep = 7\n')
    yaml = script.with_name("b.yaml")
    yaml.write_text('script: train.py\nargs: ["1"]\nseed: 3\ncheckpoint: {keep: 7}\n')
    for file in (toml, yaml):
        made = submitted(file.name, "--gpus", "0", "--every", "5 epochs", "--", "2", "x y")
        job = made.job
        assert job.name == file.stem
        assert (job.args, job.seed, job.resources.gpus) == (["2", "x y"], 3, 0)
        assert (job.checkpoint.keep, job.checkpoint.every_epochs) == (7, 5)
        assert made.notes == ("Set in place of the spec's: gpus, every, args.",)
        # what is dropped says the same
        assert tomllib.loads(made.data.decode())["args"] == ["2", "x y"]


def test_a_spec_without_options_is_left_as_it_is(script: Path) -> None:
    """With its comments."""
    script.with_name("a.toml").write_text('# why\nscript = "train.py"\n')
    assert "# why" in submitted("a.toml").data.decode()


def test_lines_of_the_script_are_keys(script: Path) -> None:
    """Of sections, too; an option and arguments replace them; a text is no comment."""
    script.write_text(
        '"""# rekindle: seed = 1"""\n'
        "# rekindle: gpus = 0\n"
        '#rekindle: checkpoint.every = "5 epochs"\n'
        '# rekindle: args = ["--epochs", "9"]\n'
        "x = '''\n# rekindle: nonsense\n'''\n"
        "    # rekindle: nothing\n".replace("    #", "if 1:\n    #")
        + "    pass\n"
    )
    made = submitted("train.py")
    assert (made.job.resources.gpus, made.job.checkpoint.every_epochs) == (0, 5)
    assert (made.job.args, made.job.seed) == (["--epochs", "9"], 0)
    assert "`# rekindle:` lines of train.py: gpus, every, args." in made.notes
    other = submitted("train.py", "--gpus", "1", "--", "z").job
    assert (other.resources.gpus, other.args) == (1, ["z"])


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("# rekindle: gpu = 1", "There is no key `gpu`", "Did you mean `gpus`?"),
        ("# rekindle: checkpoint.evry = 1", "`checkpoint.evry`", "`every`"),
        ("# rekindle: retry.every = 1", "`retry.every`", "`every`"),
        ('# rekindle: script = "b.py"', "no key `script`", "Known keys"),
        ("# rekindle: resumes this", "cannot be read", '`# rekindle: every = "10 min"`'),
        ("# rekindle:", "sets no key", "gpus = 1"),
        ("# rekindle: gpus = -1", "from 0 to 1024", ""),
        ("# rekindle: gpus = 1\n# rekindle: resources.gpus = 2", "set twice", "line 2"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(
    script: Path, line: str, what: str, hint: str
) -> None:
    """Not ignored: the night would run with another value."""
    script.write_text(f"import sys\n{line}\n")
    with pytest.raises(SpecError) as refused:
        submitted("train.py")
    assert what in refused.value.what
    assert hint in refused.value.hint
    assert refused.value.where == f"train.py:{1 + len(line.splitlines())}"


def test_a_python_beside_the_script_is_found_from_anywhere(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link is not followed: the venv is known by it."""
    python = environment_in(tmp_path / ".venv")
    script.write_text('# rekindle: python = ".venv/bin/python"\n')
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert submitted("../train.py").job.python == python
    assert submitted("../train.py", "--python", "../.venv/bin/python").job.python == python
    assert os.path.islink(python)


def environment_in(prefix: Path) -> str:
    python = prefix / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return str(python)


def test_the_active_environment_runs_a_script(script: Path, tmp_path: Path) -> None:
    venv, conda = (environment_in(tmp_path / name) for name in ("v", "c"))
    both = {"VIRTUAL_ENV": str(tmp_path / "v"), "CONDA_PREFIX": str(tmp_path / "c")}

    def chosen(**env: str) -> tuple[str | None, str]:
        found = active_python.find(env, tmp_path)
        return found.path, found.why

    assert chosen()[0] is None
    assert chosen(VIRTUAL_ENV=both["VIRTUAL_ENV"]) == (
        venv,
        f"python: {venv}, of the active virtual environment.",
    )
    assert chosen(**both)[0] == venv
    # the shell finds that of conda first
    assert chosen(**both, PATH=f"{tmp_path}/c/bin:{tmp_path}/v/bin")[0] == conda
    assert "no Python" in chosen(VIRTUAL_ENV=str(tmp_path / "gone"))[1]
    base = {"CONDA_PREFIX": both["CONDA_PREFIX"], "CONDA_DEFAULT_ENV": "base"}
    assert chosen(**base)[0] is None
    assert "no Keras" in chosen(**base)[1]
    (tmp_path / "c" / "lib" / "python3.12" / "site-packages" / "keras").mkdir(parents=True)
    assert chosen(**base)[0] == conda
    made = compose.for_script(script, args=[], given={}, env=both)
    assert made.job.python == venv
    assert made.notes == (f"python: {venv}, of the active virtual environment.",)


def test_an_environment_that_is_not_active_is_named(script: Path, tmp_path: Path) -> None:
    python = environment_in(tmp_path / ".venv")
    found = active_python.find({}, tmp_path)
    assert found.path is None
    assert f"--python {python}" in found.why


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Train v2 (copy).py", "train-v2-copy"),
        ("größe.py", "gr-e"),
        ("..py", None),
        (f"{'a' * 90}.py", "a" * 64),
        ("a..b.py", "a.b"),
    ],
)
def test_any_file_name_gives_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, name: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text("")
    if name is not None:
        assert submitted(file).job.name == name


def test_any_path_and_argument_reaches_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emoji, quotes, control characters, backslashes."""
    folder = tmp_path / 'a "b" \\ 🐟\t\x7f'
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text("")
    arguments = ["🐟", '"', "'", "\\n", "\x01\x7f", "", "a\nb", "{}", "[x]", "#"]
    made = submitted("train.py", "--", *arguments)
    assert made.job.args == arguments
    assert made.job.workdir == str(folder)


def test_a_path_that_is_not_utf8_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/na\xefve"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "train.py").write_text("")
    with pytest.raises(SpecError, match="UTF-8") as refused:
        submitted("train.py")
    assert "Rename" in refused.value.hint


def test_the_notes_are_in_the_json(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--home", str(tmp_path / "home"), "submit", "--queue", "--json", str(script)]
    assert cli.main(words) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["notes"][0].startswith("python: ")

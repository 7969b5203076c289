"""A missing package is named with the command that installs it where the verb looks for it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from rig import environment

from rekindle.daemon import extras


def test_the_command_is_for_the_environment_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of `uv tool` has no pip."""
    missing = extras.missing("The page", "some-package", "page")
    assert f"`{sys.executable} -m pip install some-package`" in missing.hint
    assert "(the extra `page`)" in missing.what
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert extras.install("a", "b") == f"uv pip install --python {sys.executable} a b"


def test_the_command_can_be_followed() -> None:
    """By the interpreter that it names; nothing is downloaded."""
    words = extras.install("pip").split()
    done = subprocess.run(
        [*words, "--dry-run", "--no-index", "--quiet"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "verb", [["demo"], ["submit", "x.ipynb", "--queue"], ["completion", "zsh"]]
)
def test_a_verb_in_a_bare_environment_names_what_it_lacks(verb: list[str], tmp_path: Path) -> None:
    """Of the core alone: no extra can be imported."""
    for name in ("argcomplete", "nbconvert", "sklearn", "tensorflow"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})\n")
    hide = (
        "import sys, importlib.util as u; f = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in ('sklearn', 'tensorflow') else f(n, *a)\n"
        "from rekindle.daemon.client import cli; sys.exit(cli.main())"
    )
    env = environment(REKINDLE_HOME=str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-c", hide, *verb],
        env={**env, "PYTHONPATH": f"{tmp_path}:{env['PYTHONPATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (1, 2), done.stdout
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr

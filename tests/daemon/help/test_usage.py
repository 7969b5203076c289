"""Wrong usage names what is meant, with the usage of the verb; help fits terminal and pipe.

Kinds of source: `submit train.py --epochs 5`, whose answer named no `--`; an unknown option that
printed the usage of the whole program; help that was cut into lines of 80 characters in a pipe.
"""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import environment

from rekindle.daemon.client import cli

REKINDLE = [sys.executable, "-m", "rekindle.daemon"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["submit", "train.py", "--epochs", "5"], "`rekindle submit train.py -- --epochs 5`"),
        (["submit", "--epochs", "5", "train.py"], "`rekindle submit train.py -- --epochs 5`"),
        (
            ["submit", "--name", "x", "train.py", "--lr=0.1", "--queue", "data dir"],
            "`rekindle submit --name x --queue train.py -- --lr=0.1 'data dir'`",
        ),
        (["verify-resume", "train.py", "--epochs", "5"], "verify-resume train.py -- --epochs 5`"),
        (["submit", "train.py", "--nmae", "x"], "Did you mean `--name`?"),
        (["logs", "--folow", "x"], "Did you mean `--follow`?"),
        (["--hoem", "x", "ls"], "Did you mean `--home`?"),
        (["stpo", "x"], "Did you mean `rekindle stop`?"),
        (["kill", "x"], "Did you mean `rekindle cancel`?"),
        (["help", "shwo"], "Did you mean `rekindle show`?"),
        (["train.py"], "`rekindle submit train.py`"),
        ([], "`rekindle help`"),
        (["qqq"], "`rekindle help`"),
    ],
    ids=" ".join,
)
def test_the_hint_is_what_is_meant(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert hint in said.err


def test_the_suggested_command_submits_the_script_with_its_arguments(tmp_path: Path) -> None:
    """The hint is followed, word for word."""
    script = tmp_path / "train.py"
    script.write_text("import sys\nprint(sys.argv)\n")
    env = environment(REKINDLE_HOME=str(tmp_path / "home"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*REKINDLE, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )

    refused = run("submit", "--queue", "train.py", "--epochs", "5")
    assert refused.returncode == 2
    (command,) = re.findall(r"follow `--`: `rekindle ([^`]*)`", refused.stderr)
    assert run(*command.split()).returncode == 0
    (spec,) = (tmp_path / "home" / "inbox").glob("*.toml")
    assert 'args = ["--epochs", "5"]' in spec.read_text()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_wrong_option_prints_the_usage_of_that_verb(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {"show": ["a"], "export": ["a", "--to", "b"], "export-run": ["a", "--to", "b"]}
    words = [verb, *needed.get(verb, ["a"] * 2), "--no-such-option"]
    assert cli.main(words) == 2
    assert f"\n  usage: rekindle {verb}" in capsys.readouterr().err


def test_an_option_is_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    """`--qu` would become another option with the next version."""
    assert cli.main(["ls", "--qu"]) == 2
    assert "Did you mean `--quiet`?" in capsys.readouterr().err


def test_a_verb_without_script_refuses_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    """They were ignored silently."""
    assert cli.main(["ls", "--", "x"]) == 2
    assert "`rekindle ls` takes no arguments after `--`" in capsys.readouterr().err


def test_help_of_a_verb_is_that_of_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "logs"]) == 0
    ours = capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["logs", "--help"])
    assert ours == capsys.readouterr().out


def test_the_version_has_a_short_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["-V"])
    assert left.value.code == 0
    assert re.fullmatch(r"rekindle \S+\n", capsys.readouterr().out)


def on_terminal(*words: str, columns: int, **env: str) -> str:
    """Run the command on a terminal of a width; return what it printed."""
    master, slave = pty.openpty()
    done = subprocess.Popen(
        [*REKINDLE, *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(COLUMNS=str(columns), **env),
    )
    os.close(slave)
    said = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                said += os.read(master, 65536)
            except OSError:
                break
    os.close(master)
    done.wait(10)
    return said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_help_fits_a_terminal(columns: int) -> None:
    said = on_terminal("help", "logs", columns=columns)
    assert "--follow" in said
    # a word that is longer than the line cannot be broken
    assert [] == [line for line in said.splitlines() if len(line) > columns and " " in line.strip()]


def test_help_in_a_pipe_is_not_wrapped() -> None:
    """`rekindle help | grep verify-resume` finds the whole sentence."""
    done = subprocess.run(
        [*REKINDLE, "help", "logs"],
        env=environment(COLUMNS="40"),
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [one for one in done.stdout.splitlines() if "--follow" in one and "usage" not in one]
    assert line.endswith("until the job ends")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_usage_can_be_printed_at_any_width(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's formatter stumbles over some usages when it wraps them."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for columns in range(20, 130, 7):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert cli.verb_parser(verb).format_help()


@pytest.mark.slow(12)
@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize("words", [["run", "--until-idle"], ["doctor", "--no-imports"]], ids=str)
def test_colours_can_be_turned_off(words: list[str], plain: dict[str, str], tmp_path: Path) -> None:
    """Also those of the daemon's log."""
    home = {"REKINDLE_HOME": str(tmp_path / "home")}
    coloured = {"TERM": "xterm-256color", **home}
    colour = re.compile(r"\x1b\[[\d;]*[34]\dm")  # bold is none
    assert colour.search(on_terminal(*words, columns=80, **coloured)), "the test sees no colours"
    assert not colour.search(on_terminal(*words, columns=80, **{**coloured, **plain}))


def test_a_table_in_a_pipe_is_not_wrapped(tmp_path: Path) -> None:
    """`rekindle show | grep` finds a line, however long it is."""
    folder = tmp_path / ("long" * 50) / ("folder" * 30)
    folder.mkdir(parents=True)
    script = folder / "train.py"
    script.write_text("raise ValueError('word ' * 200)\n")
    env = environment(REKINDLE_HOME=str(tmp_path / "home"))
    for words in (["submit", "--queue", str(script)], ["run", "--until-idle"]):
        subprocess.run([*REKINDLE, *words], env=env, check=True, capture_output=True, timeout=120)
    shown = subprocess.run(
        [*REKINDLE, "show", "@"], env=env, check=True, capture_output=True, text=True
    ).stdout
    assert [line for line in shown.splitlines() if line.count("word ") >= 199]


def test_the_overview_lists_each_verb_once(capsys: pytest.CaptureFixture[str]) -> None:
    """In its group, or below "Other"; a group names no verb that does not exist."""
    assert cli.main(["help"]) == 0
    listed = re.findall(r"^  ([a-z][a-z-]+)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(listed) == sorted(cli.VERBS)
    assert {verb for names in cli.GROUPS.values() for verb in names} <= set(cli.VERBS)


def test_the_overview_fits_a_narrow_terminal() -> None:
    said = on_terminal("help", columns=40)
    assert "  verify-resume\n      kill a job" in said
    assert [] == [line for line in said.splitlines() if len(line) > 40]

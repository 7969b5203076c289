"""Real shells complete verbs, options, jobs, and leave a script's arguments alone."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import entered
import pytest
from rig import environment

from rekindle.daemon import extras
from rekindle.daemon.help import completion
from rekindle.jobs.job import Job
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home

CASES = [
    ("rekindle st", {"stop"}),
    ("rekindle help rel", {"release"}),
    ("rekindle logs --fo", {"--follow"}),
    ("rekindle completion f", {"fish"}),
    ("rekindle show fa", {"fashion-1", "fancy-1", "fable-1"}),
    ("rekindle stop digits-1 fa", {"fashion-1", "fancy-1"}),
    ("rekindle cancel dig", {"digits-1"}),
    # only jobs in a state that the verb is for
    ("rekindle release fa", {"fable-1"}),
]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with the command on its path, and a home with four jobs."""
    folder = tmp_path_factory.mktemp("completion")
    home = Home(folder / "home")
    home.create()
    ledger = Ledger.open(home.ledger)
    for name, number in (("fashion", 1), ("fancy", 1), ("digits", 1), ("fable", 1)):
        job = Job(
            name=name, id=f"{name}-{number}", workdir="/", claim=f"{name}{number}", command=["true"]
        )
        entered.enter(home, ledger, job)
    ledger.set_state("fable-1", JobState.HELD, "So.", now=1.0)
    ledger.close()
    command = folder / "bin" / "rekindle"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rekindle.daemon "$@"\n')
    command.chmod(0o755)
    (folder / "work").mkdir()
    return environment(
        PATH=f"{command.parent}:{os.environ['PATH']}",
        HOME=str(folder),
        REKINDLE_HOME=str(home.root),
        TERM="dumb",
    )


def work(env: dict[str, str]) -> Path:
    return Path(env["HOME"]) / "work"


def bash(line: str, env: dict[str, str]) -> set[str]:
    code = (
        'source <(rekindle completion bash); COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9; '
        '_python_argcomplete rekindle 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return words(["bash", "-c", code, "bash", line], env)


def fish(line: str, env: dict[str, str]) -> set[str]:
    code = f"rekindle completion fish | source; complete -C '{line}'"
    return {one.partition("\t")[0] for one in words(["fish", "-c", code], env)}


def words(command: list[str], env: dict[str, str]) -> set[str]:
    done = subprocess.run(
        command, env=env, cwd=work(env), capture_output=True, text=True, timeout=60
    )
    return {one.strip() for one in done.stdout.splitlines() if one.strip()}


def zsh(line: str, env: dict[str, str]) -> set[str]:
    """Type the line and a tab, on a terminal; zsh lists, or completes the only one."""
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=work(env),
        env={**env, "COLUMNS": "200", "PS1": ""},
        start_new_session=True,
    )
    os.close(slave)
    try:
        send = "autoload -U compinit; compinit -u; source <(rekindle completion zsh); print RE''ADY"
        os.write(master, f"unsetopt zle_bracketed_paste; {send}\n".encode())
        until(master, lambda said: "READY" in said)
        os.write(master, f"{line}\t".encode())
        said = until(master, lambda said: quiet(said, line))
        said = said.rpartition(line)[2] if line not in said else said
        begun = line.rpartition(" ")[2]
        return set(re.findall(rf"(?<![\w-]){re.escape(begun)}[\w-]+", said)) - {begun}
    finally:
        shell.kill()
        shell.wait()
        os.close(master)


def quiet(said: str, line: str) -> bool:
    """Return whether the line was completed, or a list was printed."""
    begun = re.escape(line.rpartition(" ")[2])
    return re.search(rf"(?<![\w-]){begun}[\w-]+", said.replace(line + "\t", "")) is not None


def until(master: int, done: Callable[[str], bool]) -> str:
    said = ""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([master], [], [], 0.5)[0]:
            said += os.read(master, 65536).decode(errors="replace")
        elif done(said):
            return said
    raise AssertionError(said)


SHELLS = {"bash": bash, "fish": fish, "zsh": zsh}


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, line: str, expected: set[str], env: dict[str, str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert SHELLS[shell](line, env) == expected


def test_the_arguments_of_a_script_are_names_of_files(env: dict[str, str]) -> None:
    """After `--` nothing is ours."""
    assert bash("rekindle submit x.py -- --na", env) == set()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    with pytest.raises(extras.ExtraMissing, match="argcomplete"):
        completion.code("bash")

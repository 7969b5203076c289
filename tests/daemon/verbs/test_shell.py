"""`rekindle shell`: everything is as in the job, and what runs there is none."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig, environment

from rekindle.jobs import environment as names

DUMP = """\
import json, os, sys
import helper
shown = {"env": dict(os.environ), "cwd": os.getcwd(), "python": sys.executable,
         "umask": os.umask(0), "helper": helper.CODE}
print("DUMP", json.dumps(shown))
"""
OTHER = {
    *names.OF_A_JOB,
    names.BEGAN,
    *("PATH", "PYTHONPATH", "PYTHONSAFEPATH", "REKINDLE_SNAPSHOT", "VIRTUAL_ENV", "SHELL"),
    # of the shell itself, and of the terminal
    *(
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "TERM",
        "COLORTERM",
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "LC_CTYPE",
    ),
}
"""Variables of which one of both sides has none, or another value on purpose."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A project that every user of the host may read; pytest's own folders are closed."""
    made = Path(tempfile.mkdtemp(prefix="rekindle-public-", dir="/tmp"))
    made.chmod(0o755)
    (made / "train.py").write_text(DUMP)
    (made / "helper.py").write_text("CODE = 'of the snapshot'\n")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "home")
    yield made
    made.close()


def dumped(text: str) -> dict[str, object]:
    (line,) = [line for line in text.splitlines() if line.startswith("DUMP ")]
    found: dict[str, object] = json.loads(line.removeprefix("DUMP "))
    return found


def in_shell(rig: Rig, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Call the verb from another folder and with another environment than the daemon has."""
    return subprocess.run(
        [sys.executable, "-m", "rekindle.daemon", "--home", str(rig.home.root), "shell", *command],
        capture_output=True,
        text=True,
        cwd="/",
        input=env.pop("stdin", ""),
        env=environment(ONLY_OF_THE_CALLER="1", SHELL="/bin/sh", **env),
        timeout=120,
    )


def test_what_runs_in_it_has_what_the_job_has(rig: Rig, folder: Path) -> None:
    """Variables, folder, Python, umask and the code of the snapshot; no mark of an attempt."""
    rig.start(OF_THE_DAEMON="yes")
    rig.drop(
        f'name = "x"\nscript = "{folder}/train.py"\nargs = ["--epochs", "3"]\n'
        f'python = "{sys.executable}"\numask = "007"\nseed = 5\n[env]\nTOKEN = "of the job"\n'
    )
    rig.wait_state("x-1", "done")
    job = dumped(rig.cli("logs", "x-1"))
    (folder / "helper.py").write_text("CODE = 'of now'\n")
    done = in_shell(rig, "x-1", "--", "sh", "-c", 'python "$REKINDLE_SNAPSHOT/train.py"')
    assert done.returncode == 0, done.stderr
    mine = dumped(done.stdout)
    for key in ("cwd", "python", "umask", "helper"):
        assert mine[key] == job[key], key
    ours, theirs = mine["env"], job["env"]
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert {k: ours.get(k) for k in ours.keys() - OTHER} == {
        k: theirs.get(k) for k in theirs.keys() - OTHER
    }
    assert (ours["TOKEN"], ours["OF_THE_DAEMON"], ours["PYTHONHASHSEED"]) == (
        "of the job",
        "yes",
        "5",
    )
    assert not set(names.OF_A_JOB) & ours.keys()
    assert f"folder {folder}" in done.stderr
    (call,) = [line for line in done.stderr.splitlines() if "the job runs: " in line]
    call = call.partition("the job runs: ")[2]
    assert call == f'{sys.executable} "$REKINDLE_SNAPSHOT"/train.py --epochs 3'
    assert "of the job" not in done.stderr  # it may be a secret

    # the printed call, typed into the shell; its exit code is that of the verb
    typed = in_shell(rig, "x-1", stdin=f"{call}\nexit 7\n")
    assert typed.returncode == 7, typed.stderr
    assert dumped(typed.stdout)["helper"] == "of the snapshot"
    assert rig.show("x-1")["state"] == "done"
    assert len(rig.show("x-1")["attempts"]) == 1


@pytest.mark.parametrize(("config", "expected"), [("", 0o024), ('umask = "027"\n', 0o027)])
def test_its_umask_is_that_of_the_daemon_or_its_configuration(
    rig: Rig, folder: Path, config: str, expected: int
) -> None:
    """Not that of the person who opens it: files of the job get other modes."""
    rig.home.create()
    rig.home.config.write_text(config)
    before = os.umask(0o024)
    try:
        rig.start()
        rig.drop(f'name = "x"\nscript = "{folder}/train.py"\npython = "{sys.executable}"\n')
        rig.wait_state("x-1", "done")
        os.umask(0o077)
        done = in_shell(rig, "x-1", "--", "sh", "-c", 'python "$REKINDLE_SNAPSHOT/train.py"')
    finally:
        os.umask(before)
    assert dumped(done.stdout)["umask"] == expected
    assert dumped(rig.cli("logs", "x-1"))["umask"] == expected


def test_it_works_without_a_daemon_and_says_so(rig: Rig, folder: Path) -> None:
    """With the caller's environment; a job that never ran is given no GPU."""
    rig.start()
    rig.drop(f'name = "x"\nscript = "{folder}/train.py"\n[limits]\nwindow = "00:00-00:01"\n')
    rig.wait_state("x-1", "waiting", "queued", "done")
    rig.end()
    done = in_shell(rig, "x-1", "--", sys.executable, "-c", DUMP)
    assert done.returncode == 0, done.stderr
    shown = dumped(done.stdout)["env"]
    assert isinstance(shown, dict)
    assert shown["ONLY_OF_THE_CALLER"] == "1"
    assert shown["CUDA_VISIBLE_DEVICES"] == "-1"
    assert "your environment: no daemon runs" in done.stderr


def test_what_it_cannot_do_is_said(rig: Rig, folder: Path) -> None:
    """A program that does not exist, a folder that is gone, a job that nobody submitted."""
    work = folder / "work"
    work.mkdir()
    rig.start()
    rig.drop(f'name = "x"\nscript = "{folder}/train.py"\nworkdir = "{work}"\n')
    rig.wait_state("x-1", "done")
    wrong = in_shell(rig, "x-1", "--", "no-such-program")
    assert wrong.returncode == 3
    assert "Cannot run no-such-program: No such file" in wrong.stderr
    hint = wrong.stderr.rpartition("`rekindle ")[2].partition("`")[0]
    assert hint.startswith("--home ")
    assert hint.endswith("shell x-1 -- /bin/sh")
    work.rmdir()
    gone = in_shell(rig, "x-1", "--", "true")
    assert gone.returncode == 3
    assert "folder cannot be entered" in gone.stderr
    assert in_shell(rig, "nobody-1", "--", "true").returncode == 3

"""A script that restarts itself in its own process is still followed."""

import sys
from pathlib import Path

import pytest
from rig import Rig

from rekindle.jobs.job import Job
from rekindle.jobs.trainer import reexec


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["train.py"], ([], [])),
        (["train.py", "--epochs", "5"], ([], ["--epochs", "5"])),
        (["-u", "-X", "utf8", "train.py", "-W"], (["-u", "-X", "utf8"], ["-W"])),
        (["other.py"], None),
        (["-c", "print()"], None),
        (["-m", "train"], None),
        ([], None),
    ],
)
def test_only_the_script_of_the_job_continues_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], found: object
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job(name="a", workdir=str(tmp_path), script=str(tmp_path / "train.py"))
    assert found == reexec.arguments(job, ["python", *words])


def test_a_module_is_restarted_by_its_name(tmp_path: Path) -> None:
    job = Job(name="a", workdir=str(tmp_path), module="package.train")
    assert (["-B"], ["5"]) == reexec.arguments(job, ["python", "-B", "-m", "package.train", "5"])
    assert reexec.arguments(job, ["python", "-m", "other"]) is None


def test_a_script_that_restarts_itself_keeps_its_arguments(rig: Rig, tmp_path: Path) -> None:
    """Also by `execvp`, `execl` and with an environment; a forked child may execute anything."""
    script = tmp_path / "train.py"
    script.write_text(
        "import os, sys\n"
        "me = os.path.realpath(__file__)\n"
        "print('stage', sys.argv[1:], os.environ.get('MARK'), flush=True)\n"
        "if len(sys.argv) == 2:\n    os.execl(sys.executable, 'python', me, '2', 'b')\n"
        "if sys.argv[1] == '2':\n"
        "    os.execve(sys.executable, ['python', me, '3', '', 'c d'],\n"
        "              {**os.environ, 'MARK': 'm'})\n"
        "child = os.fork()\n"
        "if not child:\n    os.execv('/bin/echo', ['echo', 'from a child'])\n"
        "os.waitpid(child, 0)\n"
    )
    rig.drop(f'name = "e"\nscript = "{script}"\nargs = ["1"]\n')
    rig.start()
    row = rig.wait_state("e-1", "done", "failed", "held", "waiting")
    assert "done" == row["state"], rig.cli("logs", "e-1")
    stages = [line for line in rig.cli("logs", "e-1").splitlines() if line.startswith("stage")]
    assert ["stage ['1'] None", "stage ['2', 'b'] None", "stage ['3', '', 'c d'] m"] == stages
    assert "from a child" in rig.cli("logs", "e-1")
    assert row["unfollowed"] is None


def test_a_script_that_executes_another_program_is_reported(rig: Rig, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(f"import os\nos.execv({sys.executable!r}, ['python', '-c', 'print(1)'])\n")
    rig.drop(f'name = "o"\nscript = "{script}"\n')
    rig.start()
    row = rig.wait_state("o-1", "done", "failed", "held")
    assert "The script replaces its process with python" in row["unfollowed"]
    assert "this training is not followed; nothing of it is saved." in row["reason"]

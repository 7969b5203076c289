"""Provenance of an attempt, and the report of a change between two attempts."""

import platform
import subprocess
from pathlib import Path

import pytest
from rig import Rig

from rekindle.jobs import provenance
from rekindle.jobs.job import Job

ABOUT = {
    "python": "3.11.7",
    "packages": {"keras": "3.15.1", "tensorflow": "2.20.0"},
    "machine": {
        "cpu": "Xeon",
        "cores": 8,
        "memory": 1,
        "kernel": "6.1",
        "gpus": ["A100"],
        "driver": "550.54",
    },
    "code": {"live": True, "digest": None, "script": "aa"},
}


def test_a_change_that_may_affect_results_is_reported_with_both_values() -> None:
    """Memory, kernel and host do not affect results."""
    new = {
        "python": "3.11.7",
        "packages": {"keras": "3.15.1", "tensorflow": "2.21.0", "numpy": "2"},
        "machine": {
            "cpu": "Xeon",
            "cores": 8,
            "memory": 2,
            "kernel": "6.2",
            "gpus": ["H100"],
            "driver": "560.1",
        },
        "code": {"live": True, "digest": None, "script": "bb"},
    }
    assert provenance.changes(ABOUT, new) == [
        "numpy none → 2",
        "tensorflow 2.20.0 → 2.21.0",
        "NVIDIA driver 550.54 → 560.1",
        "GPUs A100 → H100",
        "the script",
    ]
    assert provenance.changes(ABOUT, ABOUT) == []
    assert provenance.changes(None, ABOUT) == []
    assert provenance.changes({}, {}) == []


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (None, ["a", "b", "c"]),
        ("", []),
        ("2,0", ["c", "a"]),
        ("GPU-b", ["b"]),
        ("-1", []),
        ("0,7,1", ["a"]),
    ],
)
def test_only_the_gpus_visible_to_the_attempt_count(names: str | None, seen: list[str]) -> None:
    """CUDA_VISIBLE_DEVICES names them by number or UUID; those after an invalid one are hidden."""
    box = [("GPU-a1", "a"), ("GPU-b1", "b"), ("GPU-c1", "c")]
    assert [model for _, model in provenance._visible(box, names)] == seen


def test_this_host_is_described() -> None:
    """From files that exist on every Linux."""
    about = provenance.collect(Job(name="x", workdir="/", script=__file__))
    assert about["python"] == platform.python_version()
    assert about["packages"]["numpy"]
    assert about["machine"]["cores"] >= 1
    assert about["machine"]["memory"] > 2**20
    assert about["machine"]["cpu"]
    assert len(about["code"]["script"]) == 64


def test_the_commit_of_live_code_is_read_without_git(tmp_path: Path) -> None:
    """The host may have no git; packed references and worktrees are supported."""

    def git(*words: str) -> str:
        return subprocess.run(
            [
                "git",
                "-c",
                "user.name=Ana",
                "-c",
                "user.email=ana@example.org",
                "-C",
                str(tmp_path),
                *words,
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    script = tmp_path / "train.py"
    script.write_text("")
    job = Job(name="x", workdir=str(tmp_path), script=str(script))
    assert provenance.code(job)["commit"] is None
    git("init", "-q", "-b", "night")
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert provenance.code(job)["commit"] == head
    git("pack-refs", "--all")
    assert provenance.code(job)["commit"] == head
    git("worktree", "add", "-q", "--detach", "other")
    other = Job(name="x", workdir=str(tmp_path), script=str(tmp_path / "other" / "train.py"))
    assert provenance.code(other)["commit"] == head


@pytest.mark.slow  # two attempts
def test_an_update_between_two_attempts_is_reported(tmp_path: Path) -> None:
    """A changed package version is in show, events and the log."""
    packages = tmp_path / "packages"
    script = tmp_path / "train.py"
    script.write_text(f"""
import pathlib, sys
info = pathlib.Path({str(packages)!r}, "keras-99.1.dist-info")
if info.exists():
    sys.exit(0)
info.mkdir(parents=True)
(info / "METADATA").write_text("Metadata-Version: 2.1\\nName: keras\\nVersion: 99.1\\n")
sys.exit(3)
""")
    rig = Rig(tmp_path / "home")
    rig.drop(
        f'name = "x"\nscript = "{script}"\nenv = {{ PYTHONPATH = "{packages}" }}\n'
        'retry = { backoff = "1s..1s" }\n'
    )
    try:
        rig.start("--until-idle").wait(60)
        shown = rig.show("x-1")
    finally:
        rig.close()
    first, second = (attempt["provenance"] for attempt in shown["attempts"])
    assert first["changed"] == []
    assert len(second["changed"]) == 1
    assert second["changed"][0].startswith("keras ")
    assert second["changed"][0].endswith("→ 99.1")
    assert second["code"]["digest"] == shown["spec"]["source"]["digest"]
    assert "changed at attempt 2: keras" in rig.cli("show", "x-1")
    assert "→ 99.1" in rig.home.run("x-1").log(2).read_text()
    assert any(e["kind"] == "warned" for e in shown["events"])


def test_gpus_and_driver_are_read_from_the_kernel_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files as the NVIDIA module writes them, for a host without it."""
    monkeypatch.setattr(provenance, "_NVIDIA", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert provenance.machine()["gpus"] == []
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
    )
    for bus, model in (("0000:02:00.0", "NVIDIA H100 80GB HBM3"), ("0000:01:00.0", "NVIDIA A100")):
        folder = tmp_path / "gpus" / bus
        folder.mkdir(parents=True)
        (folder / "information").write_text(
            f"Model: \t\t {model}\nIRQ:   \t\t 24\nGPU UUID: \t GPU-{bus[6]}\n"
            f"Video BIOS: \t ??.??\nBus Location: \t {bus}\nDevice Minor: \t 0\n"
        )
    about = provenance.machine()
    assert about["gpus"] == ["NVIDIA A100", "NVIDIA H100 80GB HBM3"]
    assert about["driver"] == "560.35.03"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2")
    assert provenance.machine()["gpus"] == ["NVIDIA H100 80GB HBM3"]


def test_a_command_job_journals_its_host_and_runs_live(tmp_path: Path) -> None:
    """Its packages are unknown; the keeper journals the rest."""
    rig = Rig(tmp_path / "home")
    rig.drop(f'name = "c"\ncommand = ["/bin/true"]\nworkdir = "{tmp_path}"\n')
    try:
        rig.start("--until-idle").wait(60)
        about = rig.show("c-1")["attempts"][0]["provenance"]
    finally:
        rig.close()
    assert about["machine"]["cores"] >= 1
    assert about["code"] == {
        "live": True,
        "digest": None,
        "script": None,
        "dirty": None,
        "commit": None,
    }

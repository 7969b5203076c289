"""The snapshot of a job's code has the right files, and attempts run only these."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.daemon.config import SourceLimits
from rekindle.daemon.source.snapshot import Snapshots, used
from rekindle.jobs.job import Job, Source
from rekindle.state.errors import SpecError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    (made / "train.py").write_text("import model\n")
    (made / "model.py").write_text("WIDTH = 1\n")
    return made


def git(folder: Path, *words: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "Ana", f"GIT_{who}_EMAIL": "ana@example.org"}
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, text=True, env=env, capture_output=True
    ).stdout.strip()


class Store:
    """A store, and jobs of one script."""

    def __init__(self, root: Path, **limits: int) -> None:
        self.folder = root / "home" / "sources"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.snapshots = Snapshots(self.folder, SourceLimits(**limits), root / "home")

    def take(self, script: Path, dropped: float | None = None) -> Source:
        job = Job(name="x", workdir=str(script.parent), script=str(script))
        taken = self.snapshots.take(job, time.time() + 60 if dropped is None else dropped)
        assert taken is not None
        return taken

    def files(self, source: Source) -> set[str]:
        tree = self.folder / source.digest[:32] / "tree"
        return {p.relative_to(tree).as_posix() for p in tree.rglob("*") if not p.is_dir()}


def test_a_repository_gives_tracked_and_new_files_but_no_ignored_ones(
    tmp_path: Path, folder: Path
) -> None:
    """The files that git sees in the folder, with its commit and whether it was changed."""
    (folder / ".gitignore").write_text("data/\n*.log\n")
    (folder / "data").mkdir()
    (folder / "data" / "big.npz").write_bytes(b"0" * 100)
    (folder / "old.log").write_text("x")
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (folder / "new.py").write_text("x = 1\n")
    store = Store(tmp_path)
    clean = store.take(folder / "train.py")
    assert store.files(clean) == {".gitignore", "train.py", "model.py", "pkg/__init__.py", "new.py"}
    assert (clean.commit, clean.dirty, clean.untracked) == (
        git(folder, "rev-parse", "HEAD"),
        False,
        1,
    )
    (folder / "model.py").write_text("WIDTH = 2\n")
    assert store.take(folder / "train.py").dirty is True
    (folder / "model.py").unlink()
    gone = store.take(folder / "train.py")
    assert (gone.dirty, "model.py" in store.files(gone)) == (True, False)


def test_a_repository_of_another_user_is_read_and_runs_nothing(
    tmp_path: Path, folder: Path
) -> None:
    """Git refuses foreign repositories; their hooks and monitors must not run as the daemon."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give the repository to another user")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(trap))
    git(folder, "config", "filter.evil.clean", str(trap))
    (folder / ".gitattributes").write_text("*.py filter=evil\n")
    (folder / "model.py").write_text("WIDTH = 3\n")
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, 65534, 65534)
    taken = Store(tmp_path).take(folder / "train.py")
    assert taken.commit is not None
    assert taken.dirty is True
    assert not (tmp_path / "sprung").exists()


def test_without_git_the_code_of_the_folder_is_copied(tmp_path: Path, folder: Path) -> None:
    """No data, hidden folders or environments; with the code of the folders below."""
    (folder / "data.npz").write_bytes(b"0" * 10)
    for name in (".hidden/a.py", "env/pyvenv.cfg", "env/lib/b.py", "__pycache__/c.py", "sub/d.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    store = Store(tmp_path)
    taken = store.take(folder / "train.py")
    assert store.files(taken) == {"train.py", "model.py", "sub/d.py"}
    assert (taken.commit, taken.dirty) == (None, None)


def test_links_are_never_followed_out_of_the_tree(tmp_path: Path, folder: Path) -> None:
    """Links within it are copied as their targets; those that lead out are left out, by name."""
    (tmp_path / "secret.py").write_text("TOKEN = 1\n")
    (folder / "inside.py").symlink_to("model.py")
    (folder / "outside.py").symlink_to(tmp_path / "secret.py")
    (folder / "pipe.py").symlink_to("fifo.py")
    os.mkfifo(folder / "fifo.py")
    store = Store(tmp_path)
    taken = store.take(folder / "train.py")
    assert store.files(taken) == {"train.py", "model.py", "inside.py"}
    assert {line.partition(":")[0] for line in taken.left_out} == {
        "outside.py",
        "fifo.py",
        "pipe.py",
    }
    assert not any(p.is_symlink() for p in store.folder.rglob("*"))
    assert "TOKEN" not in "".join(p.read_text() for p in store.folder.rglob("*.py"))


def test_too_much_code_refuses_the_spec_with_a_hint(tmp_path: Path, folder: Path) -> None:
    """Code above the limits is an error; data above the limits is left out."""
    git(folder, "init", "-q")
    for n in range(6):
        (folder / f"part{n}.py").write_text("#" * 1000)
    (folder / "table.csv").write_text("1" * 3000)
    (folder / "huge.py").write_text("#" * 9000)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    store = Store(tmp_path, max_bytes=8000, max_file_bytes=8000)
    taken = store.take(folder / "train.py")
    assert {line.partition(":")[0] for line in taken.left_out} == {"huge.py", "table.csv"}
    with pytest.raises(SpecError) as caught:
        Store(tmp_path, max_files=3).take(folder / "train.py")
    assert "too large for a snapshot" in caught.value.what
    assert "live = true" in caught.value.hint
    assert ".gitignore" in caught.value.hint
    with pytest.raises(SpecError, match="Cannot copy the script"):
        Store(tmp_path, max_file_bytes=5).take(folder / "train.py")


def test_in_a_large_folder_only_the_files_beside_the_script_are_copied(
    tmp_path: Path, folder: Path
) -> None:
    """A script in a user's home folder must not be refused for the other files in it."""
    for n in range(8):
        (folder / "other" / str(n)).mkdir(parents=True)
        (folder / "other" / str(n) / "x.py").write_text("")
    store = Store(tmp_path, max_files=5)
    taken = store.take(folder / "train.py")
    assert store.files(taken) == {"train.py", "model.py"}
    assert taken.left_out == ["(folders below): hold too much to be searched for code"]


def test_equal_trees_are_stored_once_and_specs_dropped_together_share_one(
    tmp_path: Path, folder: Path
) -> None:
    """Ten thousand specs of one script must not cause ten thousand copies or scans."""
    store = Store(tmp_path)
    first = store.take(folder / "train.py", dropped=time.time() - 1)
    (folder / "model.py").write_text("WIDTH = 2\n")
    assert store.take(folder / "train.py", dropped=time.time() - 60).digest == first.digest
    later = store.take(folder / "train.py", dropped=time.time() + 1)
    assert later.digest != first.digest
    store.snapshots.forget()
    assert store.take(folder / "train.py", dropped=time.time() - 60).digest == later.digest
    assert len(list(store.folder.iterdir())) == 2


def test_a_damaged_snapshot_is_repaired_by_the_same_code(tmp_path: Path, folder: Path) -> None:
    """A new job must not run damaged code, and older jobs get the repaired code."""
    store = Store(tmp_path)
    first = store.take(folder / "train.py")
    kept = store.folder / first.digest[:32] / "tree" / "model.py"
    kept.unlink()
    kept.write_text("WIDTH = 'rotten'\n")
    store.snapshots.forget()
    assert store.take(folder / "train.py").digest == first.digest
    assert kept.read_text() == "WIDTH = 1\n"
    store.snapshots.sweep()
    assert [p.name for p in store.folder.iterdir()] == [first.digest[:32]]


def test_a_snapshot_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not refuse the spec, and leaves no partial snapshot."""
    store = Store(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError):
            store.take(folder / "train.py")
    assert list(store.folder.iterdir()) == []
    (store.folder / ".tmp-1").mkdir()
    store.snapshots.sweep()
    assert list(store.folder.iterdir()) == []


SCRIPT = """
import inspect, json, pathlib, sys
import model
import pkg.deep
from lib import live
here = pathlib.Path(__file__).resolve().parent
def source(): return "one"
(here / "out.jsonl").open("a").write(json.dumps({
    "main": source(), "model": model.WIDTH, "deep": pkg.deep.DEEP, "live": live.LIVE,
    "data": (here / "data.txt").read_text(), "path": sys.path[0], "file": model.__file__,
    "sees": "one" in inspect.getsource(source), "seen": inspect.getsource(model.width),
    "argv": sys.argv[1:]}) + "\\n")
sys.exit(0 if "again" in (here / "data.txt").read_text() else 3)
"""


def test_editing_the_code_changes_nothing_for_an_accepted_job(tmp_path: Path, folder: Path) -> None:
    """Script, modules and packages are those at acceptance; data and paths stay live."""
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("data.txt\nout.jsonl\nlib/\n__pycache__\n")
    (folder / "train.py").write_text(SCRIPT)
    (folder / "model.py").write_text("WIDTH = 1\ndef width(): return 'old'\n")
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "deep.py").write_text("DEEP = 1\n")
    (folder / "pkg" / "settings.yaml").write_text("a: 1\n")
    (folder / "lib").mkdir()
    (folder / "lib" / "live.py").write_text("LIVE = 1\n")
    (folder / "data.txt").write_text("first")
    rig = Rig(tmp_path / "home")
    try:
        rig.start()
        wait_for(rig.home.daemon_status.exists, "the daemon is up")
        rig.drop(
            f'name = "x"\nscript = "{folder}/train.py"\nargs = ["-v"]\n'
            'retry = { backoff = "2s..2s" }\n'
        )
        wait_for(
            lambda: rig.home.run("x-1").journal.exists() and rig.entries("x-1", "attempt_ended"),
            "the first attempt has run",
        )
        (folder / "train.py").write_text("raise SystemExit('edited')\n")
        (folder / "model.py").write_text("WIDTH = 'edited'\ndef width(): return 'new'\n")
        (folder / "pkg" / "deep.py").unlink()
        (folder / "pkg" / "settings.yaml").write_text("a: 2\n")
        (folder / "data.txt").write_text("again")
        rig.wait_state("x-1", "done", "failed", "held")
    finally:
        rig.close()
    first, *_, last = [json.loads(line) for line in (folder / "out.jsonl").open()]
    same = {
        "main": "one",
        "model": 1,
        "deep": 1,
        "live": 1,
        "path": str(folder),
        "sees": True,
        "file": str(folder / "model.py"),
        "seen": "def width(): return 'old'\n",
        "argv": ["-v"],
    }
    assert first == {**same, "data": "first"}
    assert last == {**same, "data": "again"}
    shown = rig.show("x-1")
    assert shown["state"] == "done"
    warned = [e["data"]["message"] for e in shown["events"] if e["kind"] == "warned"]
    assert any("pkg/settings.yaml" in message for message in warned)
    assert any("module lib " in message for message in warned)
    assert "snapshot" in rig.cli("show", "x-1")
    assert list(used(rig.home.runs)) == [shown["spec"]["source"]["digest"][:32]]


def test_a_live_job_runs_the_current_code(tmp_path: Path, folder: Path) -> None:
    """For a user who wants to correct a script while its job waits."""
    rig = Rig(tmp_path / "home")
    (folder / "train.py").write_text("raise SystemExit(3)\n")
    rig.cli("submit", "--queue", "--live", str(folder / "train.py"))
    (folder / "train.py").write_text("print('corrected')\n")
    try:
        rig.start("--until-idle").wait(60)
        shown = rig.show("train-1")
    finally:
        rig.close()
    assert shown["state"] == "done"
    assert shown["spec"]["live"] is True
    assert shown["spec"]["source"] is None
    assert "live" in rig.cli("show", "train-1")


def test_a_lost_snapshot_holds_the_job(tmp_path: Path, folder: Path) -> None:
    """Running other code instead would be a silent change."""
    rig = Rig(tmp_path / "home")
    (folder / "train.py").write_text("raise SystemExit(3)\n")
    try:
        rig.start()
        rig.drop(f'name = "x"\nscript = "{folder}/train.py"\nretry = {{ backoff = "8s..8s" }}\n')
        rig.wait_state("x-1", "waiting")
        assert json.loads(rig.cli("verify", "--json"))["findings"] == []
        shutil.rmtree(rig.home.sources)
        held = rig.wait_state("x-1", "held")
        found = json.loads(rig.cli("verify", "--json", code=1))["findings"]
        assert any("snapshot" in finding["what"] for finding in found)
    finally:
        rig.close()
    assert "snapshot" in held["reason"]


def test_modules_run_from_the_snapshot(tmp_path: Path, folder: Path) -> None:
    """`module = "pkg.train"` finds its package below the working folder."""
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("WHO = 'old'\n")
    (folder / "pkg" / "train.py").write_text(
        "from pkg import WHO\nprint('ran', WHO, __file__)\nraise SystemExit(0)\n"
    )
    rig = Rig(tmp_path / "home")
    rig.drop(f'name = "m"\nmodule = "pkg.train"\nworkdir = "{folder}"\n')
    try:
        rig.start("--until-idle").wait(60)
        assert f"ran old {folder}/pkg/train.py" in rig.home.run("m-1").log(1).read_text()
        assert (rig.home.run("m-1").source / "pkg" / "train.py").exists()
    finally:
        rig.close()

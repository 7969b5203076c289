"""The snapshot of a job's code has the right files, and attempts run only these."""

import functools
import json
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, wait_for

from rekindle.daemon.background import Background
from rekindle.daemon.config import SourceLimits
from rekindle.daemon.retention import retention
from rekindle.daemon.source import git as git_module
from rekindle.daemon.source import listing, tree_reader
from rekindle.daemon.source.batch_sync import BatchSync
from rekindle.daemon.source.snapshot import Snapshots, used
from rekindle.daemon.source.tree_reader import TreeReader
from rekindle.jobs.job import Job, Source
from rekindle.state import source_tree
from rekindle.state.errors import SpecError
from rekindle.state.paths import Home


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
        wait_for(rig.home.daemon_status.exists, "the daemon is up")
        rig.cli("pause")
        rig.drop(f'name = "x"\nscript = "{folder}/train.py"\n')
        rig.wait_state("x-1", "waiting")
        assert json.loads(rig.cli("verify", "--json"))["findings"] == []
        shutil.rmtree(rig.home.sources)
        rig.cli("resume")
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


@pytest.fixture
def public() -> Iterator[Path]:
    """A project that every user of the host may read; pytest's own folders are closed."""
    made = Path(tempfile.mkdtemp(prefix="rekindle-public-", dir="/tmp"))
    made.chmod(0o755)
    (made / "train.py").write_text("import model\n")
    (made / "model.py").write_text("WIDTH = 1\n")
    yield made
    shutil.rmtree(made)


def modes(store: Store, source: Source) -> dict[str, int]:
    top = store.folder / source.digest[:32]
    return {
        p.relative_to(top).as_posix(): stat.S_IMODE(p.lstat().st_mode) for p in top.rglob("*")
    } | {".": stat.S_IMODE(top.lstat().st_mode)}


def test_a_copy_is_never_wider_than_its_original(tmp_path: Path, public: Path) -> None:
    """Others read in the store what they can read in the project, and nothing else."""
    for name, mode in {"own.py": 0o600, "tool.sh": 0o700, "run.sh": 0o755}.items():
        (public / name).write_text(name)
        (public / name).chmod(mode)
    for name in ("closed/inner/a.py", "open/b.py"):
        (public / name).parent.mkdir(parents=True)
        (public / name).write_text("x = 1\n")
    (public / "closed").chmod(0o700)
    store = Store(tmp_path)
    found = modes(store, store.take(public / "train.py"))
    assert found == {
        ".": 0o750,
        "files.json": 0o600,
        "tree": 0o750,
        "tree/train.py": 0o440,
        "tree/model.py": 0o440,
        "tree/own.py": 0o400,
        "tree/tool.sh": 0o500,
        "tree/run.sh": 0o550,
        "tree/closed": 0o700,
        "tree/closed/inner": 0o700,
        "tree/closed/inner/a.py": 0o400,
        "tree/open": 0o750,
        "tree/open/b.py": 0o440,
    }
    public.chmod(0o700)
    closed = modes(store, store.take(public / "train.py"))
    assert [mode for mode in closed.values() if mode & 0o077] == []


def test_a_group_reads_what_is_of_its_group(tmp_path: Path, public: Path) -> None:
    """A file of 0640 is open to its own group, not to the group of the service."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file to another group")
    for name in ("ours.py", "theirs.py"):
        (public / name).write_text("")
        (public / name).chmod(0o640)
    os.chown(public / "theirs.py", -1, 65534)
    store = Store(tmp_path)
    found = modes(store, store.take(public / "train.py"))
    assert (found["tree/ours.py"], found["tree/theirs.py"]) == (0o440, 0o400)


def test_secrets_of_a_home_that_is_a_repository_are_not_copied(tmp_path: Path) -> None:
    """Seen in trackers that save code: a script in a home with a repository of settings."""
    home = tmp_path / "ana"
    (home / "sub").mkdir(parents=True)
    (home / "sub" / "train.py").write_text("import model\n")
    (home / "sub" / "model.py").write_text("")
    secret = (
        ".ssh/id_rsa",
        ".ssh/config",
        ".aws/credentials",
        ".config/gcloud/x.db",
        ".kube/config",
        ".netrc",
        ".env",
        "sub/kaggle.json",
        "sub/server.PEM",
        ".bash_history",
    )
    for name in (*secret, ".bashrc", "notes.txt", "letters/tax.py"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("TOKEN")
    git(home, "init", "-q")
    git(home, "add", ".bashrc", ".netrc")
    git(home, "commit", "-qm", "dotfiles")
    store = Store(tmp_path)
    taken = store.take(home / "sub" / "train.py")
    assert store.files(taken) == {".bashrc", "sub/train.py", "sub/model.py"}
    why = dict(line.split(": ", 1) for line in taken.left_out)
    assert "may hold a secret" in why[".netrc"]
    assert why["(the rest of the home)"].startswith("11 files that git does not track")
    assert not list(store.folder.rglob("*id_rsa*"))


def test_secrets_within_a_project_are_named_and_its_settings_are_narrow(
    tmp_path: Path, public: Path
) -> None:
    """A key serves nobody in a snapshot; `.env` may decide the training, so that it is compared."""
    for name in ("deploy.pem", "id_ed25519", "id_ed25519.pub", ".env", "key.py", "secrets.yaml"):
        (public / name).write_text("A = 1\n")
    git(public, "init", "-q")
    git(public, "add", ".")
    git(public, "commit", "-qm", "all")
    store = Store(tmp_path)
    taken = store.take(public / "train.py")
    assert {line.partition(":")[0] for line in taken.left_out} == {"deploy.pem", "id_ed25519"}
    found = modes(store, taken)
    assert (found["tree/.env"], found["tree/secrets.yaml"], found["tree/key.py"]) == (
        0o400,
        0o400,
        0o440,
    )
    assert taken.dirty is False


def test_an_environment_that_git_does_not_ignore_is_no_code(tmp_path: Path, folder: Path) -> None:
    """Seen in a tracker: the saved code was huge, since `.venv` lay in the project.

    Packages that are tracked are code of the project.
    """
    for name in (
        ".venv/pyvenv.cfg",
        ".venv/lib/site-packages/numpy/core.py",
        "conda/conda-meta/history",
        "conda/lib/a.py",
        "web/node_modules/x/index.js",
        "vendored/pyvenv.cfg",
        "vendored/mine.py",
        "src/a.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    git(folder, "init", "-q")
    git(folder, "add", "train.py", "vendored")
    store = Store(tmp_path)
    taken = store.take(folder / "train.py")
    assert store.files(taken) == {
        "train.py",
        "model.py",
        "src/a.py",
        "vendored/pyvenv.cfg",
        "vendored/mine.py",
    }
    assert taken.left_out == [
        ".venv/: 2 files of installed packages",
        "conda/: 2 files of installed packages",
        "web/node_modules/: 1 files of installed packages",
    ]


@pytest.mark.parametrize(
    "place", [".gitignore", ".git/index", ".git/info/exclude", "sub/.gitignore"]
)
def test_git_never_blocks_on_a_special_file(
    tmp_path: Path, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is listed instead, and the record says so; git and its children are ended."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (folder / "sub").mkdir()
    (folder / place).unlink(missing_ok=True)
    os.mkfifo(folder / place)
    monkeypatch.setattr(listing, "GIT_S", 1.0)
    look = listing.list_code(folder, tmp_path / "home", 1.0)
    assert set(look.files) == {"train.py", "model.py"}
    (note,) = look.notes
    assert "as without git" in note
    assert ("did not answer within 1 s" if place == "sub/.gitignore" else place) in note
    job = Job(name="x", workdir=str(folder), script=str(folder / "train.py"))
    left = subprocess.run(["pgrep", "-f", f"git.*{folder}"], capture_output=True, text=True)
    assert left.stdout == ""
    if place == ".gitignore":
        taken = Store(tmp_path).snapshots.take(job, time.time() + 60)
        assert taken is not None
        assert taken.notes == look.notes


def test_git_that_lists_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output is never held in memory as a whole."""
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec yes some/long/name\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git_module, "_MOST_BYTES", 2**20)
    with pytest.raises(git_module.GitFailed, match="more than 1 MiB"):
        git_module.Git(tmp_path, time.monotonic() + 30)("ls-files")


class Counted:
    """Count what a snapshot costs: files read and copied, and syncs of the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.copied = self.fsyncs = 0
        inner, fsync = TreeReader._read, os.fsync

        def read(reader: TreeReader, *args: Any) -> Any:
            self.read += args[-1] is None
            self.copied += args[-1] is not None
            return inner(reader, *args)

        def sync(fd: int) -> None:
            self.fsyncs += 1
            fsync(fd)

        monkeypatch.setattr(TreeReader, "_read", read)
        monkeypatch.setattr(os, "fsync", sync)

    def take(self) -> tuple[int, int, int]:
        taken = self.read, self.copied, self.fsyncs
        self.read = self.copied = self.fsyncs = 0
        return taken


def test_an_unchanged_tree_is_neither_read_nor_copied_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next job of ten thousand files costs a look at their metadata."""
    for n in range(100):
        (folder / f"part{n:03d}.py").write_text(f"N = {n}\n")
    monkeypatch.setattr(tree_reader, "_RACY_S", -60.0)
    counted = Counted(monkeypatch)
    store = Store(tmp_path)
    first = store.take(folder / "train.py")
    assert counted.take() == (102, 102, 1 if is_batched(store.folder) else 104)
    assert store.take(folder / "train.py").digest == first.digest
    assert counted.take() == (0, 0, 0)
    (folder / "model.py").write_text("WIDTH = 2\n")
    edited = store.take(folder / "train.py")
    assert counted.take()[:2] == (1, 1)
    assert edited.digest != first.digest
    tree, old = (store.folder / one.digest[:32] / "tree" for one in (edited, first))
    assert (tree / "model.py").read_text() == "WIDTH = 2\n"
    assert (tree / "part007.py").stat().st_ino == (old / "part007.py").stat().st_ino
    assert source_tree.damage(tree, edited.digest) is None
    # another daemon knows nothing of the tree: it reads, and still copies nothing
    assert Store(tmp_path).take(folder / "train.py").digest == edited.digest
    assert counted.take() == (102, 0, 0)


def is_batched(folder: Path) -> bool:
    with BatchSync(folder) as batch:
        return batch._reliable


def test_a_file_that_was_just_changed_is_read_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within one tick of the clock leave the same size and times, as git knows."""
    monkeypatch.setattr(tree_reader, "_key", lambda info: (info.st_ino, info.st_size))
    store = Store(tmp_path)
    first = store.take(folder / "train.py")
    with (folder / "model.py").open("r+") as file:
        file.write("WIDTH = 3\n")
    assert store.take(folder / "train.py").digest != first.digest


def test_a_changed_mode_of_a_folder_above_narrows_the_next_copy(
    tmp_path: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known content is not read again; its mode is always looked at."""
    monkeypatch.setattr(tree_reader, "_RACY_S", -60.0)
    (public / "sub").mkdir()
    (public / "sub" / "a.py").write_text("")
    store = Store(tmp_path)
    assert modes(store, store.take(public / "train.py"))["tree/sub/a.py"] == 0o440
    (public / "sub").chmod(0o700)
    found = modes(store, store.take(public / "train.py"))
    assert (found["tree/sub"], found["tree/sub/a.py"], found["tree/model.py"]) == (
        0o700,
        0o400,
        0o440,
    )


def test_several_threads_store_one_tree_once(tmp_path: Path, folder: Path) -> None:
    """Jobs of one repository are accepted at once by scripts of different folders."""
    git(folder, "init", "-q")
    scripts = []
    for n in range(6):
        (folder / f"s{n}").mkdir()
        scripts.append(folder / f"s{n}" / "train.py")
        scripts[-1].write_text(f"print({n})\n")
    store = Store(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(store.take, scripts))
    assert len({source.digest for source in taken}) == 1
    assert [p.name for p in store.folder.iterdir()] == [taken[0].digest[:32]]
    assert source_tree.damage(store.folder / taken[0].digest[:32] / "tree", taken[0].digest) is None


def test_a_slow_tree_delays_no_other() -> None:
    """A thousand specs of one tree occupy one thread; another tree has its turn at once."""
    background = Background(most=3)
    blocked = threading.Event()
    for n in range(1000):
        assert background.ask(("slow", n), blocked.wait, "slow tree") is None
    for n in range(20):
        background.ask(("quick", n), functools.partial(int, n), f"tree {n}")
    wait_for(
        lambda: all(background.has_ended(("quick", n)) for n in range(20)), "the others are done"
    )
    assert not background.has_ended(("slow", 0))
    blocked.set()
    wait_for(lambda: background.has_ended(("slow", 999)), "the slow ones, in their order")


def test_a_large_file_is_read_in_pieces(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree of ten gigabytes is never in memory."""
    (folder / "table.py").write_bytes(b"#" * (5 * 2**20))
    most = 0
    inner = os.read

    def read(fd: int, size: int) -> bytes:
        nonlocal most
        most = max(most, size)
        return inner(fd, size)

    monkeypatch.setattr(os, "read", read)
    store = Store(tmp_path)
    taken = store.take(folder / "train.py")
    assert most <= 2**20
    monkeypatch.setattr(Path, "read_bytes", None)
    with (store.folder / taken.digest[:32] / "tree" / "table.py").open("rb") as file:
        assert len(file.read()) == 5 * 2**20


def test_a_snapshot_in_use_is_not_removed_by_a_round_that_began_before(
    tmp_path: Path, folder: Path
) -> None:
    """A spec may come between the choice of an unused snapshot and its removal."""
    store = Store(tmp_path)
    taken = store.take(folder / "train.py")
    kept = store.folder / taken.digest[:32]
    home = Home(tmp_path / "home")
    home.create()
    os.utime(kept, (0, 0))
    (chosen,) = retention.unused_sources(home, set(), time.time())
    assert chosen == kept
    store.snapshots.forget()
    store.take(folder / "train.py")
    assert retention.remove_unused_sources(home, time.time()) == 0
    os.utime(kept, (0, 0))
    assert retention.remove_unused_sources(home, time.time()) > 0
    assert not kept.exists()

"""A job moves to another host in one verified archive and is resumed at the same batch."""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rig import Rig, environment

from rekindle.daemon.config import SourceLimits
from rekindle.daemon.source import snapshot
from rekindle.daemon.transfer import archive, transfer
from rekindle.jobs.job import Job
from rekindle.state.errors import LockHeld, UsageError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lock import held
from rekindle.state.paths import Home, Run
from rekindle.state.run import checkpoints, journal
from rekindle.state.run.checkpoints import Position


def home_of(folder: Path) -> Home:
    home = Home(folder)
    home.create()
    return home


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text("import model\n")
    (folder / "model.py").write_text("WIDTH = 1\n")
    return folder


def make_run(home: Home, work: Path) -> Run:
    """Make a run with code, a checkpoint, a journal and a log, like that of a stopped job."""
    job = Job(
        name="night",
        id="night-1",
        workdir=str(work),
        script=str(work / "train.py"),
        env={"TOKEN": "secret"},
        claim="abc-1",
    )
    snapshots = snapshot.Snapshots(home.sources, SourceLimits(), home.root)
    taken = snapshots.take(job, time.time())
    assert taken is not None
    run = home.run("night-1")
    run.logs.mkdir(parents=True)
    run.source.symlink_to(snapshots.place(taken))
    run.job_file.write_text(job.replace(source=taken).to_json())
    run.log(1).write_text("epoch 1\n")
    (run.root / "exports" / "deep").mkdir(parents=True)
    (run.root / "exports" / "deep" / "model.bin").write_bytes(os.urandom(3000))
    checkpoints.commit(
        run.checkpoints,
        Position(0, 1, 10),
        lambda f: (f / checkpoints.STATE).write_bytes(os.urandom(5000)) and None,
        {},
    ) and None
    journal.append(
        run.journal,
        "attempt_started",
        attempt=1,
        keeper_pid=1,
        keeper_start=1,
        trainer_pid=2,
        trainer_start=2,
        boot_id="another",
    )
    journal.append(
        run.journal,
        "checkpoint_committed",
        attempt=1,
        name="e0001-s00000010",
        epoch=1,
        step=10,
        bytes=5000,
    )
    return run


def content(root: Path) -> dict[str, bytes]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name not in ("lock", "job.json")
    }


def test_a_run_is_imported_completely_under_a_new_number(tmp_path: Path, work: Path) -> None:
    """Every file, the snapshot and the history; an existing name gets the next number."""
    there, here = home_of(tmp_path / "there"), home_of(tmp_path / "here")
    run = make_run(there, work)
    file = tmp_path / "night.tar"
    packed = archive.pack(run, file, state="held", version="1")
    assert packed.left_out == []
    assert file.stat().st_mode & 0o777 == 0o600
    book = Ledger.open(here.ledger)
    book.insert_job(
        "night-4",
        name="night",
        number=4,
        run_dir="/x",
        priority=0,
        spec="{}",
        claim=None,
        submitted_at=1.0,
    )
    (here.runs / "night-5").mkdir()
    token = archive.unpack(file, here)
    assert "night-6" in transfer.settle(here, book, token, hold=True)
    arrived = here.run("night-6")
    assert content(arrived.root) == content(run.root)
    assert (arrived.source / "model.py").read_text() == "WIDTH = 1\n"
    assert arrived.job_file.stat().st_mode & 0o777 == 0o600
    job = Job.from_json(arrived.job_file.read_text())
    assert (job.id, job.env, job.workdir) == ("night-6", {"TOKEN": "secret"}, str(work))
    assert [c.name for c in book.checkpoints("night-6")] == ["e0001-s00000010"]
    assert book.job("night-6").attempts == 1  # type: ignore[union-attr]
    # requested again, as after a crash before the request was removed
    before = book.count()
    assert "night-6" in transfer.settle(here, book, token, hold=True)
    assert (book.count(), list(here.imports.iterdir())) == (before, [])
    book.close()


def test_an_imported_snapshot_is_not_wider_than_the_original(tmp_path: Path) -> None:
    """Files and folders get the modes that the copy had on the old host, whatever the umask."""
    public = Path(tempfile.mkdtemp(prefix="rekindle-public-", dir="/tmp"))
    try:
        public.chmod(0o755)
        (public / "closed").mkdir(mode=0o700)
        for name, mode in {"train.py": 0o644, "key.py": 0o600, "closed/a.py": 0o644}.items():
            (public / name).write_text("x = 1\n")
            (public / name).chmod(mode)
        there, here = home_of(tmp_path / "there"), home_of(tmp_path / "here")
        file = tmp_path / "night.tar"
        archive.pack(make_run(there, public), file, state="held", version="1")
        archive.unpack(file, here)
    finally:
        shutil.rmtree(public)

    def modes(home: Home) -> dict[str, int]:
        return {
            p.relative_to(home.sources).as_posix(): p.stat().st_mode & 0o777
            for p in home.sources.rglob("*")
            if p.name != "files.json"
        }

    found = modes(here)
    assert found == modes(there)
    assert sorted(found.values()) == [0o400, 0o400, 0o440, 0o700, 0o750, 0o750]


def test_a_running_job_is_refused_and_no_file_is_replaced(tmp_path: Path, work: Path) -> None:
    """Two hosts must not train one run, and an archive is never replaced."""
    run = make_run(home_of(tmp_path / "there"), work)
    file = tmp_path / "night.tar"
    with held(run.lock, "x", "x"), pytest.raises(LockHeld, match="alive"):
        archive.pack(run, file, state="held", version="1")
    assert not file.exists()
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        archive.pack(run, file, state="held", version="1")
    assert file.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def rewritten(file: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], Any]) -> Path:
    """Change the members of an archive."""
    with tarfile.open(file) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    change(members)
    bad = file.with_name("bad.tar")
    with tarfile.open(bad, "w") as tar:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return bad


def _relist(
    members: list[tuple[tarfile.TarInfo, bytes]], change: Callable[[dict[str, Any]], Any]
) -> None:
    about = json.loads(members[0][1])
    change(about)
    members[0] = members[0][0], json.dumps(about).encode()


def _add(name: str, *, kind: bytes = tarfile.REGTYPE, to: str = "") -> Callable[..., None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        import hashlib

        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, to
        members.append((info, b"evil" if kind == tarfile.REGTYPE else b""))
        data = members[-1][1]
        _relist(
            members,
            lambda about: about["files"].update(
                {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
            ),
        )

    return change


def _flip(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    at = next(i for i, (m, _) in enumerate(members) if m.name.endswith(checkpoints.STATE))
    data = bytearray(members[at][1])
    data[100] ^= 1
    members[at] = members[at][0], bytes(data)


def _no_code(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    import hashlib

    at = next(i for i, (m, _) in enumerate(members) if m.name.endswith("model.py"))
    members[at] = members[at][0], b"WIDTH = 'evil'\n"
    _relist(
        members,
        lambda about: about["files"].update(
            {
                members[at][0].name: {
                    "bytes": len(members[at][1]),
                    "sha256": hashlib.sha256(members[at][1]).hexdigest(),
                }
            }
        ),
    )


def _job(**changes: Any) -> Callable[..., None]:
    """Change values in ``job.json``, with correct digests."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        import hashlib

        at = next(i for i, (m, _) in enumerate(members) if m.name == "run/job.json")
        data = json.dumps({**json.loads(members[at][1]), **changes}).encode()
        members[at] = members[at][0], data
        _relist(
            members,
            lambda about: about["files"].update(
                {"run/job.json": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
            ),
        )

    return change


def _headers(values: dict[str, str]) -> Callable[..., None]:
    """Add a member with an extended header that contradicts the list."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        _add("run/evil")(members)
        members[-1][0].pax_headers = values
        if "hdrcharset" in values:
            members.append(members[-1])  # odd values alone do no harm

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_job(name="../../evil"), id="a job whose name leads out"),
        pytest.param(_job(name=["x"]), id="a job whose name is a list"),
        pytest.param(_job(format="x"), id="a job of no format"),
        pytest.param(_flip, id="a flipped bit"),
        pytest.param(_no_code, id="other code with right digests"),
        pytest.param(lambda members: members.pop(), id="a missing file"),
        pytest.param(lambda members: members.append(members[-1]), id="a file twice"),
        pytest.param(lambda members: members.pop(0), id="no list"),
        pytest.param(_add("run/../../evil"), id="up and out"),
        pytest.param(_add("/etc/evil"), id="absolute"),
        pytest.param(_add("evil"), id="outside of both folders"),
        pytest.param(_add("run/source/evil"), id="into the snapshot by another way"),
        pytest.param(_add("run/lock"), id="the lock"),
        pytest.param(_add("run/a//b"), id="an empty part"),
        pytest.param(_add("run/link", kind=tarfile.SYMTYPE, to="/etc"), id="a symbolic link"),
        pytest.param(_add("run/hard", kind=tarfile.LNKTYPE, to="/etc/passwd"), id="a hard link"),
        pytest.param(_add("run/pipe", kind=tarfile.FIFOTYPE), id="a pipe"),
        pytest.param(lambda members: _relist(members, lambda a: a.update(format=99)), id="newer"),
        pytest.param(lambda members: _relist(members, lambda a: a.update(files=[])), id="bad list"),
        pytest.param(
            lambda members: _relist(members, lambda a: a.update(format=float("nan"))), id="NaN"
        ),
        pytest.param(lambda members: _relist(members, lambda a: a.update(format=True)), id="flag"),
        pytest.param(
            lambda members: _relist(
                members, lambda a: next(iter(a["files"].values())).update(bytes=True)
            ),
            id="a size that is a flag",
        ),
        pytest.param(
            lambda members: _relist(
                members, lambda a: next(iter(a["files"].values())).update(bytes=10**30)
            ),
            id="more bytes than it has",
        ),
        pytest.param(_add("run/job.json/below"), id="a file below a file"),
        pytest.param(_add("run/" + "n" * 300), id="a long name"),
        pytest.param(_add("run/" + "/".join("d" * 250 for _ in range(16))), id="a long path"),
        pytest.param(_headers({"size": "-512"}), id="a negative size"),
        pytest.param(_headers({"size": "9" * 30}), id="a size of thirty digits"),
        pytest.param(_headers({"path": "run/other"}), id="a name in the header alone"),
        pytest.param(
            _headers({"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999"}), id="sparse"
        ),
        pytest.param(_headers({"hdrcharset": "odd", "mtime": "x", "uid": "-1"}), id="odd values"),
    ],
)
def test_a_bad_archive_is_refused_completely(
    tmp_path: Path, work: Path, change: Callable[..., Any]
) -> None:
    """Damaged or malicious: refused with a reason, and the home is unchanged."""
    there, here = home_of(tmp_path / "there"), home_of(tmp_path / "here")
    file = tmp_path / "night.tar"
    archive.pack(make_run(there, work), file, state="held", version="1")
    before = sorted(here.root.rglob("*"))
    with pytest.raises(archive.ArchiveRefused):
        archive.unpack(rewritten(file, change), here)
    assert sorted(here.root.rglob("*")) == before
    assert not list(tmp_path.rglob("evil"))


def test_a_chain_of_headers_is_refused(tmp_path: Path, work: Path) -> None:
    """Each announces the next: tarfile reads them by recursion."""
    file = tmp_path / "night.tar"
    archive.pack(make_run(home_of(tmp_path / "there"), work), file, state="held", version="1")
    info = tarfile.TarInfo("run/evil")
    info.pax_headers = {"comment": "x"}
    header = info.tobuf(tarfile.PAX_FORMAT)[:1024]  # the extended header without its member
    with tarfile.open(file) as tar:
        tar.next()
        second = tar.next()
        assert second is not None
        at = second.offset
    file.write_bytes(file.read_bytes()[:at] + header * 2000 + b"\0" * 1024)
    here = home_of(tmp_path / "here")
    with pytest.raises(archive.ArchiveRefused):
        archive.unpack(file, here)
    assert list(here.imports.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 100, 512, 5000, -1024 * 12])
def test_a_truncated_archive_is_refused(tmp_path: Path, work: Path, cut: int) -> None:
    """As of an interrupted copy."""
    file = tmp_path / "night.tar"
    archive.pack(make_run(home_of(tmp_path / "there"), work), file, state="held", version="1")
    data = file.read_bytes()
    file.write_bytes(data[:cut])
    here = home_of(tmp_path / "here")
    with pytest.raises(archive.ArchiveRefused):
        archive.unpack(file, here)
    assert list(here.imports.iterdir()) == list(here.sources.iterdir()) == []


def test_a_job_with_missing_folders_is_refused_with_the_option(tmp_path: Path, work: Path) -> None:
    """With the option all paths of the job move to the new folder."""
    file = tmp_path / "night.tar"
    archive.pack(make_run(home_of(tmp_path / "there"), work), file, state="held", version="1")
    shutil.rmtree(work)
    here = home_of(tmp_path / "here")
    with pytest.raises(UsageError) as caught:
        archive.unpack(file, here)
    assert "--workdir" in caught.value.hint
    new = tmp_path / "data"
    new.mkdir()
    token = archive.unpack(file, here, workdir=str(new), python="/usr/bin/env")
    job = Job.from_json((here.imports / token / "job.json").read_text())
    assert (job.workdir, job.script, job.python) == (
        str(new),
        str(new / "train.py"),
        "/usr/bin/env",
    )
    assert job.source is not None
    assert job.source.root == str(new)


def test_an_import_interrupted_before_the_ledger_is_completed(tmp_path: Path, work: Path) -> None:
    """The next daemon finds the run and enters its history into the ledger."""
    from rekindle.daemon.intake.inbox import Inbox

    there, here = home_of(tmp_path / "there"), home_of(tmp_path / "here")
    run = make_run(there, work)
    journal.append(run.journal, "resumed", attempt=1, epoch=0, step=0)
    file = tmp_path / "night.tar"
    archive.pack(run, file, state="held", version="1")
    token = archive.unpack(file, here)
    book = Ledger.open(here.ledger)
    waiting = here.imports / token
    job = Job.from_json((waiting / "job.json").read_text())
    (waiting / "job.json").write_text(job.replace(id="night-1").to_json())
    os.rename(waiting, here.runs / "night-1")
    Inbox(here, book).recover()
    assert [c.name for c in book.checkpoints("night-1")] == ["e0001-s00000010"]
    assert "night-1" in transfer.settle(here, book, token, hold=False)
    book.close()


TRAIN = """
import json, os, sys, time
print("ready", flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
"""


@pytest.mark.slow  # two daemons, four attempts
def test_a_job_is_stopped_exported_imported_and_resumed(tmp_path: Path, work: Path) -> None:
    """The verbs, with two daemons: held on one, running on the other; a running job is refused."""
    (work / "train.py").write_text(TRAIN)
    there, here = Rig(tmp_path / "there"), Rig(tmp_path / "here")
    try:
        there.start()
        there.drop(f'name = "night"\nscript = "{work}/train.py"\n')
        there.wait_state("night-1", "running")
        file = tmp_path / "night.tar"
        there.cli("export-run", "night-1", "--to", str(file), code=2)
        there.cli("stop", "night-1")
        there.wait_state("night-1", "held")
        there.cli("export-run", "night-1", "--to", str(file))
        (work / "train.py").unlink()
        here.cli("import-run", str(file))
        assert "of another host" in here.cli("verify", code=None)
        here.start()
        here.wait_state("night-1", "running")
        (work / "go").touch()
        done = here.wait_state("night-1", "done")
        assert done["id"] == "night-1"
        assert [a["n"] for a in here.show("night-1")["attempts"]] == [1, 2]
        assert there.show("night-1")["state"] == "held"
        assert json.loads(here.cli("verify", "--json"))["sound"]
        assert "night-2" in here.cli("import-run", str(file), "--hold")
        assert {row["id"] for row in here.ls()} == {"night-1", "night-2"}
    finally:
        there.close()
        here.close()


KERAS = """
import os, sys, time
import keras
import numpy as np
import shape

class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if os.path.exists("slow"):
            time.sleep(0.02)

x = np.random.normal(size=(640, 8)).astype("float32")
y = (x.sum(1) > 0).astype("float32")
model = keras.Sequential([keras.layers.Dense(shape.WIDTH, activation="relu"),
                          keras.layers.Dropout(0.3), keras.layers.Dense(1)])
model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
model.fit(x, y, epochs=5, batch_size=16, verbose=0, callbacks=[Slow()])
np.savez(sys.argv[1], *model.get_weights(), *[v.numpy() for v in model.optimizer.variables])
"""


@pytest.mark.slow(25)  # three starts of TensorFlow
def test_a_training_resumes_bit_identically_on_another_host(tmp_path: Path, work: Path) -> None:
    """Stopped in mid-epoch on one, finished on the other, equal to an undisturbed run."""
    (work / "train.py").write_text(KERAS)
    (work / "shape.py").write_text("WIDTH = 16\n")
    (work / "slow").touch()
    there, here = Rig(tmp_path / "there"), Rig(tmp_path / "here")
    spec = 'name = "{0}"\nscript = "{1}/train.py"\nargs = ["{0}.npz"]\nseed = 5\n'
    try:
        there.start()
        there.drop(spec.format("moved", work))
        there.wait_epochs("moved-1", 2)
        there.cli("stop", "moved-1")
        there.wait_state("moved-1", "held")
        (work / "slow").unlink()
        file = tmp_path / "moved.tar"
        there.cli("export-run", "moved-1", "--to", str(file))
        # the original is removed: only the archived code can run
        (work / "shape.py").write_text("WIDTH = 99\n")
        here.cli("import-run", str(file))
        assert here.start("--until-idle").wait(200) == 0
        last = here.show("moved-1")["attempts"][-1]
        assert (last["n"], last["cause"]) == (2, "done")
        assert last["lost_steps"] in range(5)  # trained after the save, to be repeated
        assert last["from_step"] > 0
        assert last["from_step"] % 40 != 0, "it was to be stopped within an epoch"
        (work / "shape.py").write_text("WIDTH = 16\n")
        here.drop(spec.format("twin", work))
        assert here.start("--until-idle").wait(200) == 0
    finally:
        there.close()
        here.close()
    moved, twin = np.load(work / "moved.npz"), np.load(work / "twin.npz")
    assert moved.files == twin.files
    assert len(moved.files) > 8
    for name in moved.files:
        assert moved[name].tobytes() == twin[name].tobytes(), name


def test_a_disk_without_hard_links_gets_an_archive_and_no_file_is_replaced(
    tmp_path: Path, work: Path
) -> None:
    """As FAT and some network disks: strace makes link(2) fail."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (apt: strace)")
    run = make_run(home_of(tmp_path / "there"), work)
    file, made = tmp_path / "out" / "night.tar", tmp_path / "out" / "made"
    file.parent.mkdir()
    code = f"""if True:
        import os
        from pathlib import Path
        from rekindle.daemon.transfer import archive
        from rekindle.state import durable
        from rekindle.state.paths import Run
        file, made = Path({str(file)!r}), Path({str(made)!r})
        archive.pack(Run(Path({str(run.root)!r})), file, state="held", version="1")
        made.write_text("another")
        try:
            os.link(made, made.with_name("linked"))
        except PermissionError:
            print("no links")
        try:
            durable.name_new(made, file)
        except FileExistsError:
            print("kept")
    """
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=link,linkat",
            "-e",
            "inject=link,linkat:error=EPERM",
            sys.executable,
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
    )
    assert done.stdout.split("\n")[:2] == ["no links", "kept"], done.stderr
    assert sorted(path.name for path in file.parent.iterdir()) == ["made", "night.tar"]
    assert file.stat().st_mode & 0o777 == 0o600
    here = home_of(tmp_path / "here")
    assert archive.unpack(file, here)


def test_a_failed_write_of_an_archive_is_reported_with_its_name(tmp_path: Path, work: Path) -> None:
    """The OSError of a write has no file name; no partial archive stays."""
    run = make_run(home_of(tmp_path / "there"), work)
    (run.root / "exports" / "big").write_bytes(b"x" * 200_000)
    file = tmp_path / "out" / "night.tar"
    file.parent.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UsageError, match="File too large") as refused:
            archive.pack(run, file, state="held", version="1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.where == str(file)
    assert list(file.parent.iterdir()) == []

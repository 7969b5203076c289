"""A snapshot that was committed is whole after a power loss, on a real ext4."""

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.daemon.config import SourceLimits
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.jobs.job import Job
from rekindle.state import durable, source_tree

pytestmark = pytest.mark.faults

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN: the filesystem stops at once, and nothing more reaches the disk."""
_WITHOUT_FLUSH = 2


class Disk:
    """An ext4 in a file that can lose its power."""

    def __init__(self, image: Path, where: Path) -> None:
        self.image = image
        self.where = where

    def mount(self) -> None:
        done = subprocess.run(
            ["mount", "-o", "loop,commit=600", str(self.image), str(self.where)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")

    def lose_power(self) -> None:
        fd = os.open(self.where, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(fd)
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.where)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    image, where = tmp_path / "image", tmp_path / "disk"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(128 * 2**20)
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no ext4 can be made: {made.stderr.strip()}")
    disk = Disk(image, where)
    disk.mount()
    yield disk
    disk.unmount()


@pytest.mark.parametrize("count", [5, 500])
def test_a_committed_snapshot_is_whole_after_a_power_loss(
    disk: Disk, tmp_path: Path, count: int
) -> None:
    """With some files, each synced, and with many, synced at once; also with linked files."""
    folder = tmp_path / "project"
    folder.mkdir()
    script = folder / "train.py"
    for n in range(count):
        (folder / f"part{n}.py").write_bytes(os.urandom(3000))
    (disk.where / "sources").mkdir()
    os.sync()
    snapshots = Snapshots(disk.where / "sources", SourceLimits(), disk.where)
    job = Job(name="x", workdir=str(folder), script=str(script))
    digests = []
    for edit in range(2):
        script.write_text(f"print({edit})\n")
        taken = snapshots.take(job, time.time() + 60)
        assert taken is not None
        digests.append(taken.digest)
        disk.lose_power()
        for digest in digests:
            assert source_tree.damage(snapshots.store.path(digest) / "tree", digest) is None


def test_a_snapshot_that_was_not_synced_is_found_damaged(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power loss of these tests is one: without the sync the files are lost."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)\n")
    (disk.where / "sources").mkdir()
    os.sync()
    snapshots = Snapshots(disk.where / "sources", SourceLimits(), disk.where)
    job = Job(name="x", workdir=str(folder), script=str(folder / "train.py"))
    monkeypatch.setattr(durable, "fsync_all", lambda paths: None)
    monkeypatch.setattr(durable, "fsync_folder", lambda path: None)
    taken = snapshots.take(job, time.time() + 60)
    assert taken is not None
    disk.lose_power()
    assert source_tree.damage(snapshots.store.path(taken.digest) / "tree", taken.digest) is not None

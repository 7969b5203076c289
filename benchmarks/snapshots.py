"""Measure what snapshots of 10,000 files cost: the first, an equal one, one after an edit.

Run: ``python benchmarks/snapshots.py [COUNT]``. Small files beside a script in a git repository.
Printed for each: seconds, files in a second, calls of fsync and syncfs, bytes on the disk. For
the edit the median of five is taken; the other two happen once in a tree's life.
"""

import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rekindle.daemon.config import SourceLimits
from rekindle.daemon.source.snapshot import Snapshots
from rekindle.jobs.job import Job

_FSYNC = os.fsync


class Syncs:
    """Count the calls that wait for the disk."""

    def __init__(self) -> None:
        self.fsyncs = self.filesystems = 0
        library = ctypes.CDLL

        def count(fd: int) -> None:
            self.fsyncs += 1
            _FSYNC(fd)

        def load(*args: Any, **options: Any) -> Any:
            # only `syncfs` is called with errors asked for
            self.filesystems += bool(options.get("use_errno"))
            return library(*args, **options)

        os.fsync = count
        ctypes.CDLL = load  # type: ignore[assignment, misc]

    def take(self) -> tuple[int, int]:
        taken = self.fsyncs, self.filesystems
        self.fsyncs = self.filesystems = 0
        return taken


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        project, home = Path(folder) / "project", Path(folder) / "home"
        (home / "sources").mkdir(parents=True)
        (project / "images").mkdir(parents=True)
        for n in range(count - 1):
            (project / "images" / f"{n}.jpg").write_bytes(os.urandom(3000))
        (project / "train.py").write_text("print(0)\n")
        subprocess.run(["git", "init", "-q", str(project)], check=True)
        os.sync()
        snapshots = Snapshots(home / "sources", SourceLimits(), home)
        job = Job(name="x", workdir=str(project), script=str(project / "train.py"))
        syncs = Syncs()
        print("                 seconds   files/s    fsync   syncfs   disk MB")
        _measure("first", count, snapshots, job, syncs)
        _measure("equal", count, snapshots, job, syncs)
        seconds = []
        for n in range(5):
            (project / "train.py").write_text(f"print({n + 1})\n")
            began = time.monotonic()
            snapshots.take(job, time.time() + 60)
            seconds.append(time.monotonic() - began)
            calls = syncs.take()
        _print("one file edited", statistics.median(seconds), count, calls, home)


def _measure(what: str, count: int, snapshots: Snapshots, job: Job, syncs: Syncs) -> None:
    began = time.monotonic()
    snapshots.take(job, time.time() + 60)
    seconds = time.monotonic() - began
    home = Path(job.workdir).with_name("home")
    _print(what, seconds, count, syncs.take(), home)


def _print(what: str, seconds: float, count: int, calls: tuple[int, int], home: Path) -> None:
    used = subprocess.run(["du", "-sm", str(home)], check=True, capture_output=True, text=True)
    megabytes = used.stdout.split()[0]
    print(
        f"{what:<16} {seconds:7.2f} {count / seconds:9.0f} {calls[0]:8d} {calls[1]:8d} "
        f"{megabytes:>9}"
    )


if __name__ == "__main__":
    main()

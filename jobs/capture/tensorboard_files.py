"""TensorBoard event files of one run, distinguished from others in the same folder.

A log folder is often shared by jobs, by runs of a script without rekindle, by other hosts. The
name of an event file, ``events.out.tfevents.<seconds>.<host>.<pid>.<n>``, identifies its author:
only files of this run's trainers are changed.
"""

import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rekindle.jobs import process
from rekindle.state.paths import Run
from rekindle.state.run import summary

_NAME: Final = re.compile(r"events\.out\.tfevents\.(\d+)\.(.+)\.(\d+)\.\d+(\.v2)?")
# seconds: a name has whole seconds, a process start time has ticks
_SLACK = 1.0


@dataclass(frozen=True, slots=True)
class Author:
    """Identify a trainer of this run, as names of event files do.

    Attributes:
        since, until: Unix times between which it ran, since pids are reused.
    """

    host: str
    pid: int
    since: float
    until: float = float("inf")

    def made(self, name: str) -> bool:
        """Return whether this trainer wrote the event file of this name."""
        match = _NAME.fullmatch(name)
        return (
            match is not None
            and (match[2], int(match[3])) == (self.host, self.pid)
            and self.since - _SLACK <= int(match[1]) <= self.until + _SLACK
        )


def this_process() -> Author:
    """Return this process as an author."""
    ticks = process.start_ticks(os.getpid()) or 0
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return Author(socket.gethostname(), os.getpid(), time.time() - age)


def before(run: Run, attempt: int) -> list[Author]:
    """List the trainers of earlier attempts from the journal."""
    return authors(summary.read(run).entries, attempt, socket.gethostname())


def authors(entries: list[dict[str, Any]], attempt: int, host: str) -> list[Author]:
    """List the trainers of earlier attempts from journal entries.

    Args:
        attempt: number of the current attempt, which is left out.
        host: host of attempts that did not journal their own.
    """
    hosts: dict[int, str] = {}
    began: dict[int, tuple[int, float]] = {}
    ended: dict[int, float] = {}
    for entry in entries:
        number, kind = entry.get("attempt"), entry["kind"]
        if not isinstance(number, int) or number >= attempt:
            continue
        if kind == "attempt_started" and entry.get("trainer_pid"):
            if began:
                # no attempt_ended if its keeper was killed, too
                ended.setdefault(max(began), entry["t"])
            began[number] = (entry["trainer_pid"], entry["t"])
        elif kind == "attempt_ended":
            ended.setdefault(number, entry["t"])
        elif kind == "provenance":
            hosts[number] = entry.get("machine", {}).get("host") or host
    return [
        Author(hosts.get(number, host), pid, since, ended.get(number, float("inf")))
        for number, (pid, since) in began.items()
    ]


def sizes(folder: str, of: list[Author]) -> dict[str, int]:
    """Return the sizes in bytes of these trainers' event files below ``folder``, by path."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            if any(author.made(name) for author in of):
                path = os.path.join(where, name)
                try:
                    found[path] = os.stat(path).st_size
                except FileNotFoundError:
                    continue  # removed meanwhile, or a dangling link
    return found


def cut_back(folder: str, known: dict[str, int], of: list[Author]) -> None:
    """Remove events that these trainers wrote after a checkpoint: repeated steps write them again.

    Args:
        known: sizes of files at the checkpoint, by path; later files are renamed to a name
            that TensorBoard does not read.
    """
    for path in sizes(folder, of):
        if path in known:
            cut(Path(path), known[path])
            continue
        name = os.path.basename(path).replace("tfevents", "lost")
        try:
            os.replace(path, Path(path).with_name(name))
        except FileNotFoundError:
            continue


def cut(file: Path, size: int) -> None:
    """Truncate a longer file to ``size`` bytes, durably."""
    try:
        if file.stat().st_size > size:
            with file.open("r+b") as stream:
                stream.truncate(size)
                os.fsync(stream.fileno())
    except FileNotFoundError:
        pass

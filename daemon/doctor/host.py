"""The box itself, for `rekindle doctor`: disk, GPUs, memory, clock, and how fast a save is."""

import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.daemon.client import terminal
from rekindle.jobs import provenance
from rekindle.jobs.job import Job
from rekindle.state.lifecycle import JobState
from rekindle.state.paths import Home
from rekindle.state.run import checkpoints

_PROBE_BYTES: Final = 32 * 2**20
_SLOW_BYTES_S: Final = 50 * 2**20
_SLOW_FSYNC_S: Final = 0.1
_UNKNOWN_BYTES: Final = 5 * 10**9
_UNSYNCHRONISED: Final = 0x40


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        severity: ``"ok"``, ``"warning"`` where it may hurt, ``"error"`` where it will.
        hint: what to do; empty where nothing is to be done.
    """

    severity: str
    check: str
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job or a spec that will run; ``state`` is None for a spec in the inbox."""

    name: str
    job: Job
    state: JobState | None = None


def space(home: Home, waiting: list[Waiting]) -> Iterator[Finding]:
    info = os.statvfs(home.root)
    free = info.f_bavail * info.f_frsize
    wanted, unknown = _wanted(home, waiting)
    text = f"{terminal.size(free)} are free"
    if wanted:
        text += f"; the checkpoints of the jobs that wait need about {terminal.size(wanted)}"
    if unknown:
        text += f"; {unknown} jobs have no checkpoint yet to tell their size"
    hint = "Make room: `rekindle prune` shows what may go; or lower `checkpoint.keep`."
    if free < wanted:
        yield Finding("error", "disk", f"{text}.", hint)
    elif free < 2 * wanted or (unknown and free < _UNKNOWN_BYTES):
        yield Finding("warning", "disk", f"{text}.", hint)
    else:
        yield Finding("ok", "disk", f"{text}.")
    if info.f_files and info.f_favail < 10_000:
        yield Finding(
            "error",
            "disk",
            f"Only {info.f_favail} more files can be made.",
            "Remove many small files from this disk.",
        )


def _wanted(home: Home, waiting: list[Waiting]) -> tuple[int, int]:
    """Bytes that the jobs' checkpoints will still need, and how many jobs cannot be told."""
    wanted = unknown = 0
    for one in waiting:
        own = checkpoints.scan(home.run(one.name).checkpoints) if one.state else []
        like = own or [
            c
            for run in sorted(home.runs.glob(f"{one.job.name}-*"), reverse=True)
            for c in checkpoints.scan(run / "checkpoints")[:1]
        ]
        if not like:
            unknown += one.job.command is None
            continue
        size = like[0].bytes
        # the kept ones, the best, and the one being written
        wanted += max((one.job.checkpoint.keep + 2) * size - sum(c.bytes for c in own), 0)
    return wanted, unknown


def speed(home: Home, waiting: list[Waiting]) -> Iterator[Finding]:
    path = home.root / f".doctor-{os.getpid()}"
    block = os.urandom(2**20)
    try:
        with path.open("wb") as file:
            began = time.monotonic()
            for _ in range(_PROBE_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            rate = _PROBE_BYTES / max(time.monotonic() - began, 1e-9)
            times = []
            for _ in range(5):
                began = time.monotonic()
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
                times.append(time.monotonic() - began)
    except OSError as error:
        yield Finding(
            "error",
            "disk speed",
            f"The home cannot be written: {error.strerror}.",
            "Give its user the right to, or make room.",
        )
        return
    finally:
        path.unlink(missing_ok=True)
    settled = sorted(times)[2]
    text = (
        f"{terminal.size(rate)}/s are written and synced, a small write takes "
        f"{settled * 1000:.1f} ms"
    )
    slow = rate < _SLOW_BYTES_S or settled > _SLOW_FSYNC_S
    yield Finding(
        "warning" if slow else "ok",
        "disk speed",
        f"{text}.",
        "Put the home on a local disk; the time is spent at each checkpoint." if slow else "",
    )


def gpus(waiting: list[Waiting]) -> Iterator[Finding]:
    there = provenance.machine()
    models, driver = there["gpus"], there["driver"]
    wanted = max((one.job.resources.gpus or 0 for one in waiting), default=0)
    if wanted > len(models):
        yield Finding(
            "error",
            "GPUs",
            f"A job wants {wanted} GPUs; this box shows {len(models)}.",
            "Load the driver (`nvidia-smi`), or lower `resources.gpus`.",
        )
    elif models:
        yield Finding("ok", "GPUs", f"{len(models)}: {', '.join(models)}; driver {driver}.")
    else:
        yield Finding("ok", "GPUs", "There are none, and no job asks for one.")
    for node in ("/dev/nvidiactl", "/dev/nvidia-uvm"):
        if models and not os.path.exists(node):
            yield Finding(
                "error",
                "GPUs",
                f"{node} is missing: CUDA will not start.",
                "`nvidia-modprobe -u -c 0`, or start nvidia-persistenced at boot.",
            )
        elif models and not os.access(node, os.R_OK | os.W_OK):
            yield Finding(
                "error",
                "GPUs",
                f"You may not use {node}.",
                "Put the daemon's user into the group of the device.",
            )


def memory(waiting: list[Waiting]) -> Iterator[Finding]:
    total = provenance.machine()["memory"]
    for one in waiting:
        wanted = one.job.resources.memory or 0
        if wanted > total:
            yield Finding(
                "error",
                "memory",
                f"{one.name} may use {terminal.size(wanted)}; the box has {terminal.size(total)}.",
                "Lower `resources.memory`.",
            )


def clock() -> Iterator[Finding]:
    class Timex(ctypes.Structure):
        """As in adjtimex(2), up to the status; the rest is room."""

        _fields_ = [
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("rest", ctypes.c_char * 256),
        ]

    asked = Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked)) < 0:
        yield Finding(
            "warning",
            "clock",
            "It cannot be told whether the clock is synchronised.",
            "`timedatectl` tells more.",
        )
    elif asked.status & _UNSYNCHRONISED:
        yield Finding(
            "warning",
            "clock",
            "The clock is not synchronised: windows and times of events may be off.",
            "`timedatectl set-ntp true`, or start chrony.",
        )
    else:
        yield Finding("ok", "clock", "It is synchronised.")


def inotify() -> Iterator[Finding]:
    folder = Path("/proc/sys/fs/inotify")
    watches, instances = (
        int((folder / name).read_text()) for name in ("max_user_watches", "max_user_instances")
    )
    fd = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        yield Finding(
            "error",
            "inotify",
            f"No more folders can be watched ({instances} instances "
            "for each user): the inbox is looked at every few seconds only.",
            "sysctl fs.inotify.max_user_instances=1024",
        )
        return
    os.close(fd)
    low = watches < 8192 or instances < 128
    yield Finding(
        "warning" if low else "ok",
        "inotify",
        f"{watches} watches and {instances} instances for each user.",
        "sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=1024"
        if low
        else "",
    )

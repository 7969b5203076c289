"""Check the host for `rekindle doctor`: disk, GPUs, memory, clock, inotify."""

import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rekindle.daemon import queue_file
from rekindle.daemon.checks.finding import Finding, Waiting, named
from rekindle.daemon.client import terminal
from rekindle.daemon.report import host as report_host
from rekindle.jobs import provenance
from rekindle.state import accounts
from rekindle.state.counted import counted
from rekindle.state.paths import Home
from rekindle.state.run import checkpoints

_PROBE_BYTES: Final = 32 * 2**20
_SLOW_BYTES_S: Final = 50 * 2**20
_SLOW_FSYNC_S: Final = 0.1
_UNKNOWN_BYTES: Final = 5 * 10**9


def space(home: Home, waiting: list[Waiting]) -> Iterator[Finding]:
    """Compare the free disk space with the checkpoints that the jobs will write."""
    info = os.statvfs(home.root)
    free = info.f_bavail * info.f_frsize
    wanted, unknown = _wanted(home, waiting)
    text = f"{terminal.size(free)} free"
    if wanted:
        text += f"; checkpoints of the jobs to run need about {terminal.size(wanted)}"
    if unknown:
        text += f"; {unknown} without a checkpoint, so that their need is unknown"
    hint = "`rekindle prune` shows what can be removed; or lower `checkpoint.keep` in the specs."
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
            f"The file system has only {info.f_favail} free inodes.",
            "Remove many small files from this disk.",
        )


def _wanted(home: Home, waiting: list[Waiting]) -> tuple[int, int]:
    """Estimate the bytes that checkpoints will need, and count the jobs without an estimate."""
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
        # the kept checkpoints, the best one, and the one being written
        wanted += max((one.job.checkpoint.keep + 2) * size - sum(c.bytes for c in own), 0)
    return wanted, unknown


def speed(home: Home, waiting: list[Waiting]) -> Iterator[Finding]:
    """Measure writing and syncing in the home: a slow disk delays each checkpoint."""
    if not os.access(home.root, os.W_OK) and not _is_ours(home):
        yield Finding(
            "warning",
            "disk speed",
            "The speed of the disk was not measured: only the owner of the home may write there.",
            f"Run the doctor as {accounts.user_name(home.root.stat().st_uid)}.",
        )
        return
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
            f"Cannot write in the home: {error.strerror}.",
            f"Give the daemon's user write permission on {home.root}, or free disk space.",
        )
        return
    finally:
        path.unlink(missing_ok=True)
    settled = sorted(times)[2]
    text = f"{terminal.size(rate)}/s written and synced, {settled * 1000:.1f} ms for a small write"
    slow = rate < _SLOW_BYTES_S or settled > _SLOW_FSYNC_S
    yield Finding(
        "warning" if slow else "ok",
        "disk speed",
        f"{text}.",
        "Put the home on a local disk: each checkpoint takes this time." if slow else "",
    )


def _is_ours(home: Home) -> bool:
    """Return whether this process may do what the daemon does."""
    return os.geteuid() in (0, home.root.stat().st_uid)


def gpus(home: Home, waiting: list[Waiting]) -> Iterator[Finding]:
    """Compare the GPUs of the host with those the jobs need, and check their device files."""
    machine = provenance.machine()
    models, driver = machine["gpus"], machine["driver"]
    too_wide = [one for one in waiting if (one.job.resources.gpus or 0) > len(models)]
    if too_wide:
        widest = max(too_wide, key=lambda one: one.job.resources.gpus or 0)
        wanted = widest.job.resources.gpus
        yield Finding(
            "error",
            "GPUs",
            f"{widest.name} needs {counted(wanted or 0, 'GPU')}; this host has "
            f"{len(models)} ({named(too_wide)} cannot run).",
            "Check the driver with `nvidia-smi`, or lower `resources.gpus` in the spec.",
        )
    elif models:
        yield Finding("ok", "GPUs", f"{len(models)}: {', '.join(models)}; driver {driver}.")
    else:
        yield Finding("ok", "GPUs", "The host has none, and no job needs one.")
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
                "error" if _is_ours(home) else "warning",  # the daemon's user may
                "GPUs",
                f"The current user may not read and write {node}.",
                f"Add the daemon's user to the group of the device: ls -l {node}.",
            )


def gpu_faults(home: Home) -> Iterator[Finding]:
    """Report the GPUs that the daemon has set aside, or uses last."""
    for gpu in queue_file.faulty_gpus(home):
        level = "error" if gpu.set_aside else "warning"
        hint = f"When it is repaired, `{gpu.way_back}` uses it again." if gpu.set_aside else ""
        yield Finding(level, "GPUs", f"{gpu.text}.", hint)


def memory(waiting: list[Waiting]) -> Iterator[Finding]:
    """Find jobs whose memory limit is above the memory of the host."""
    total = provenance.machine()["memory"]
    for one in waiting:
        wanted = one.job.resources.memory or 0
        if wanted > total:
            yield Finding(
                "error",
                "memory",
                f"{one.name} may use {terminal.size(wanted)}; the host has {terminal.size(total)}.",
                "Lower `resources.memory` in the spec.",
            )


def clock() -> Iterator[Finding]:
    """Ask the kernel whether the clock is synchronised."""

    synchronised = report_host.synchronised()
    if synchronised is None:
        yield Finding(
            "warning",
            "clock",
            "The kernel does not report whether the clock is synchronised.",
            "Check it with `timedatectl`.",
        )
    elif not synchronised:
        yield Finding(
            "warning",
            "clock",
            "The clock is not synchronised: windows and times of events may be wrong.",
            "`timedatectl set-ntp true`, or start chrony.",
        )
    else:
        yield Finding("ok", "clock", "The clock is synchronised.")


def inotify() -> Iterator[Finding]:
    """Check that one more folder can be watched, and that the limits suffice."""
    folder = Path("/proc/sys/fs/inotify")
    watches, instances = (
        int((folder / name).read_text()) for name in ("max_user_watches", "max_user_instances")
    )
    fd = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        yield Finding(
            "error",
            "inotify",
            f"No inotify instance is free ({instances} for each user): "
            "the daemon reads the inbox every few seconds only.",
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

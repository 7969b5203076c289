"""Memory of host, cgroups and processes, as the kernel reports it. Standard library only."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGESIZE")
_MOST_BYTES: Final = 1 << 16
_LIMITS: Final = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Files with limit and use of a cgroup, and the field of its cache, by controller."""


def available(proc: Path = _PROC) -> int | None:
    """Read the bytes available to new processes without swapping; None if unknown."""
    kib = field(proc / "meminfo", "MemAvailable:")
    return None if kib is None else kib * 1024


def total() -> int | None:
    """Read the bytes of memory that the host has; None if unknown."""
    kib = field(_PROC / "meminfo", "MemTotal:")
    return None if kib is None else kib * 1024


def used(pids: list[int]) -> int:
    """Sum the memory of these processes without shared pages (statm: RSS - shared), in bytes."""
    found = 0
    for pid in pids:
        try:
            _, resident, shared = (_PROC / str(pid) / "statm").read_text().split()[:3]
        except (OSError, ValueError):
            continue
        found += (int(resident) - int(shared)) * _PAGE
    return found


def free(limit: int | None = None, *, cgroups: Path = CGROUPS, proc: Path = _PROC) -> int | None:
    """Return the bytes that this process can take more; None if unknown.

    It is the least of what the host has available, what each cgroup around the process leaves,
    and what a limit leaves.

    Args:
        limit: bytes that this process may use.
        cgroups, proc: where these are mounted.
    """
    found = list(_left_by_groups(cgroups, proc))
    if (host := available(proc)) is not None:
        found.append(host)
    if limit is not None:
        found.append(limit - used([os.getpid()]))
    return min(found, default=None)


def memberships(text: str | None = None, *, proc: Path = _PROC) -> dict[str, str]:
    """Read the cgroups of this process by controller; ``""`` is the one of version 2.

    Args:
        text: content of ``/proc/self/cgroup``; None to read it.
    """
    if text is None:
        try:
            text = _text(proc / "self/cgroup")
        except OSError:
            text = ""
    return {
        line.split(":", 2)[1]: line.split(":", 2)[2].strip().lstrip("/")
        for line in text.splitlines()
        if line.count(":") >= 2
    }


def number(path: Path) -> int | None:
    """Read a file that holds a number; None for any other, e.g. ``max``."""
    try:
        return int(_text(path))
    except (OSError, ValueError):
        return None


def field(path: Path, name: str) -> int | None:
    """Read the number behind a name in a file with one name in each line; None without it."""
    try:
        for line in _text(path).splitlines():
            if not line.startswith(name):
                continue
            words = line.split()
            if words and words[0] == name:
                return int(words[1])
    except (OSError, ValueError, IndexError):
        return None
    return None


def _text(path: Path) -> str:
    """Read a small file; a save waits for a dozen of them, of which `Path` makes three times that.

    Raises:
        OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST_BYTES).decode(errors="replace")
    finally:
        os.close(fd)


def _left_by_groups(cgroups: Path, proc: Path) -> Iterator[int]:
    for controller, path in memberships(proc=proc).items():
        if controller not in _LIMITS:
            continue
        most, now, cache = _LIMITS[controller]
        base = cgroups / controller
        group = base / path
        while group == base or base in group.parents:
            limit, in_use = number(group / most), number(group / now)
            if limit is not None and in_use is not None:
                # cached files count as used, but the kernel drops them when memory is needed
                yield limit - in_use + (field(group / "memory.stat", cache) or 0)
            group = group.parent

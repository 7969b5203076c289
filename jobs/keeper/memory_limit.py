"""Limit and measure the memory of one attempt, and detect kills by the kernel.

The limit is enforced, in order of preference, by a cgroup made around the keeper (``MemoryMax``
of systemd on the job's scope), by a cgroup that the keeper makes itself, or by a check of the
keeper every second. Standard library only.
"""

import os
from pathlib import Path
from typing import Final

from rekindle.jobs import memory, process

_EVERY: Final = 4
"""Looks between two counts of the host's kills."""


class MemoryLimit:
    """Limit the memory of a trainer, and count the kernel's kills for memory.

    Attributes:
        bytes: None for no limit.
        enforced: the kernel enforces the limit; otherwise the keeper must check it.
    """

    def __init__(
        self,
        limit: int | None,
        group: Path | None = None,
        *,
        made: bool = False,
        enforced: bool = False,
    ) -> None:
        """Read the counts of kills with which :meth:`killed` compares.

        Args:
            limit: bytes.
            group: folder of the cgroup whose kills are counted, None without one.
            made: the keeper made ``group``: the trainer enters it, and the keeper removes it.
        """
        self.bytes = limit
        self.enforced = enforced
        self._group = group
        self._made = made
        self._looks = 0
        self._kills = _group_kills(group)
        self._host_kills = (host_kills(), host_kills())

    @classmethod
    def build(
        cls,
        limit: int | None,
        name: str,
        *,
        root: Path = memory.CGROUPS,
        membership: str | None = None,
    ) -> "MemoryLimit":
        """Find or make the cgroup for an attempt; never raise.

        Args:
            name: of the folder to make, unique on this host.
            root, membership: mount point of cgroups, and content of ``/proc/self/cgroup``.
        """
        paths = memory.memberships(membership)
        if "" in paths and (root / paths[""] / "memory.events").exists():
            group = root / paths[""]
            # kills and limit of a cgroup shared with the daemon and other jobs are not the job's
            if _processes(group) <= {os.getpid()}:
                enforced = limit is not None and memory.number(group / "memory.max") is not None
                return cls(limit, group, enforced=enforced)
        elif "memory" in paths and limit is not None:
            group = root / "memory" / paths["memory"] / name
            try:
                group.mkdir()
            except OSError:
                return cls(limit)  # no permission: the keeper checks instead
            return cls(limit, group, made=True, enforced=_limit_v1(group, limit))
        return cls(limit)

    def enter(self) -> None:
        """Move the calling process into the cgroup; for the child between fork and exec."""
        if self._made and self._group is not None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def look(self) -> None:
        """Count kills on the host, once a second: one long before the end hit another process."""
        self._looks += 1
        if self._looks % _EVERY == 0:
            self._host_kills = (self._host_kills[1], host_kills())

    def exceeded(self, trainer: int) -> int | None:
        """Return the bytes in use if the keeper must check them and they exceed the limit."""
        if self.bytes is None or self.enforced:
            return None
        in_use = memory.used(process.descendants(trainer))
        return in_use if in_use > self.bytes else None

    def killed(self) -> str | None:
        """Find where the kernel killed for memory: ``"job"``, ``"host"`` or None.

        ``"job"`` is the job's cgroup; ``"host"`` counts since the last count but one.
        """
        if _group_kills(self._group) > self._kills:
            return "job"
        if host_kills() > self._host_kills[0]:
            return "host"
        return None

    def remove(self) -> None:
        """Remove the cgroup again, once; its processes have ended."""
        if self._made and self._group is not None:
            self._made = False
            try:
                self._group.rmdir()
            except OSError as error:
                print(f"rekindle: the cgroup could not be removed: {error}", flush=True)


def _limit_v1(group: Path, limit: int) -> bool:
    """Set the limit of a cgroup of version 1; return False if the kernel refuses it."""
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError:
        return False
    try:
        # a limit on memory alone would let the job use swap
        (group / "memory.memsw.limit_in_bytes").write_text(str(limit))
    except OSError:
        pass  # kernels without swap accounting have no such file
    return True


def _group_kills(group: Path | None) -> int:
    if group is None:
        return 0
    v2 = memory.field(group / "memory.events", "oom_kill")
    return v2 if v2 is not None else memory.field(group / "memory.oom_control", "oom_kill") or 0


def host_kills() -> int:
    """Count processes that the kernel has killed for memory since boot, on the whole host."""
    return memory.field(Path("/proc/vmstat"), "oom_kill") or 0


def _processes(group: Path) -> set[int]:
    try:
        return {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    except OSError:
        return set()

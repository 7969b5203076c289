"""The memory of one attempt: its limit, what it uses, and whether the kernel killed for it.

Where the limit is enforced, the best first: a cgroup that somebody made around the keeper
(systemd's ``MemoryMax`` on the job's scope), a cgroup that the keeper may make itself, and
else the keeper's own look every second. Standard library only.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_PAGE: Final = os.sysconf("SC_PAGESIZE")


@dataclass(slots=True)
class Fence:
    """The memory limit around a trainer.

    Attributes:
        limit: bytes, None for none.
        group: folder of the cgroup whose kills are counted, None where there is none.
        made: the keeper made ``group`` and removes it.
        enforced: the kernel enforces ``limit``; else the keeper has to look.
    """

    limit: int | None
    group: Path | None = None
    made: bool = False
    enforced: bool = False
    _kills: int = 0
    _host_kills: tuple[int, int] = (0, 0)

    @classmethod
    def build(
        cls, limit: int | None, name: str, *, root: Path = ROOT, membership: str | None = None
    ) -> "Fence":
        """Finds or makes the cgroup for an attempt; never raises.

        Args:
            name: of the folder to make, unique on this machine.
            root, membership: where cgroups are mounted, and what ``/proc/self/cgroup`` says.
        """
        if membership is None:
            try:
                membership = Path("/proc/self/cgroup").read_text()
            except OSError:
                membership = ""
        paths = {
            line.split(":", 2)[1]: line.split(":", 2)[2].strip().lstrip("/")
            for line in membership.splitlines()
            if line.count(":") >= 2
        }
        fence = cls(limit)
        if "" in paths and (root / paths[""] / "memory.events").exists():
            group = root / paths[""]
            # a cgroup shared with the daemon and other jobs has their kills and their limit
            if _processes(group) <= {os.getpid()}:
                fence.group = group
                fence.enforced = limit is not None and _number(group / "memory.max") is not None
        elif "memory" in paths and limit is not None:
            fence._make_v1(root / "memory" / paths["memory"] / name, limit)
        fence._kills = fence._group_kills()
        fence._host_kills = (host_kills(), host_kills())
        return fence

    def enter(self) -> None:
        """Moves the calling process inside; for the child between fork and exec."""
        if self.made and self.group is not None:
            (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def look(self) -> None:
        """Every few seconds: a kill on the machine long before the end is another's."""
        self._host_kills = (self._host_kills[1], host_kills())

    def killed(self) -> str | None:
        """``"job"`` where the kernel killed in the job's cgroup, ``"host"`` where it killed
        anywhere on the machine between the last look but one and now, else None."""
        if self._group_kills() > self._kills:
            return "job"
        if host_kills() > self._host_kills[0]:
            return "host"
        return None

    def remove(self) -> None:
        """Removes the cgroup again; its processes have ended."""
        if self.made and self.group is not None:
            try:
                self.group.rmdir()
            except OSError as error:
                print(f"rekindle: the cgroup stays: {error}", flush=True)

    def _make_v1(self, group: Path, limit: int) -> None:
        try:
            group.mkdir()
        except OSError:
            return  # not ours to make: the keeper looks instead
        self.group, self.made = group, True
        try:
            (group / "memory.limit_in_bytes").write_text(str(limit))
            self.enforced = True
            # without this a limit on memory alone lets the job move into swap
            (group / "memory.memsw.limit_in_bytes").write_text(str(limit))
        except OSError:
            return  # kernels without swap accounting have no such file

    def _group_kills(self) -> int:
        if self.group is None:
            return 0
        v2 = _field(self.group / "memory.events", "oom_kill")
        return v2 if v2 is not None else _field(self.group / "memory.oom_control", "oom_kill") or 0


def host_kills() -> int:
    """Processes that the kernel has killed for memory since boot, on the whole machine."""
    return _field(Path("/proc/vmstat"), "oom_kill") or 0


def used(pids: list[int]) -> int:
    """Bytes of memory of these processes that cannot be taken from them (statm: RSS - shared)."""
    total = 0
    for pid in pids:
        try:
            _, resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[:3]
        except (OSError, ValueError):
            continue
        total += (int(resident) - int(shared)) * _PAGE
    return total


def available() -> int | None:
    """Bytes that new processes could have without pushing others out; None where not known."""
    kib = _field(Path("/proc/meminfo"), "MemAvailable:")
    return None if kib is None else kib * 1024


def _processes(group: Path) -> set[int]:
    try:
        return {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    except OSError:
        return set()


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # "max": no limit


def _field(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text().splitlines():
            words = line.split()
            if words and words[0] == name:
                return int(words[1])
    except (OSError, ValueError, IndexError):
        return None
    return None

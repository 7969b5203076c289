"""Processes: who is who beyond a pid, and the kernel's help with children.

A pid alone is never trusted: it is used again. A process is its pid, its start time in
clock ticks and the boot it belongs to.
"""

import ctypes
import os
import signal
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    start: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The process that has ``pid`` now, or None where there is none."""
        start = start_ticks(pid)
        return None if start is None else cls(pid, start, boot_id())

    @classmethod
    def recorded(cls, pid: int | None, start: int | None, boot_id: str | None) -> "Identity | None":
        """The process that a record names, or None where the record is incomplete."""
        return None if pid is None or start is None else cls(pid, start, boot_id or "")

    def alive(self) -> bool:
        return self.boot_id == boot_id() and start_ticks(self.pid) == self.start

    def send(self, signum: int, *, group: bool = False) -> bool:
        """Signals the process (or the process group it leads); False where it is gone."""
        if not self.alive():
            return False
        try:
            if group:
                os.killpg(self.pid, signum)
                return True
            fd = os.pidfd_open(self.pid)
        except (ProcessLookupError, PermissionError):
            return False
        try:
            # between the check and the open the pid may have changed hands
            if not self.alive():
                return False
            signal.pidfd_send_signal(fd, signum)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True


def start_ticks(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None for a zombie or none.

    Source: proc_pid_stat(5), field 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def become_subreaper() -> None:
    """Orphans of this process's children become its own children, so that it can end them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when the parent's thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def go_before_others_when_memory_ends() -> None:
    """Undoes a protection from the kernel's out-of-memory killer that was inherited: a trainer
    must go before the daemon. Raising the value needs no privilege (proc(5))."""
    path = Path("/proc/self/oom_score_adj")
    try:
        if int(path.read_text()) < 0:
            path.write_text("0")
    except (OSError, ValueError):
        pass


def children(pid: int) -> list[int]:
    """Direct children of a process of this boot."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """A process of this boot and all that came from it, as far as they are still its own."""
    found = [pid]
    for one in found:
        found += [child for child in children(one) if child not in found]
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """Processor time, user and system, of live processes and the children they have reaped.

    Source: proc_pid_stat(5), fields 14 to 17.
    """
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def has_mapped(pid: int, names: Iterable[str]) -> bool:
    """Whether a process of this user has mapped a file whose path holds one of ``names``."""
    try:
        mapped = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return False
    return any(name in mapped for name in names)


def ancestors(pid: int) -> list[int]:
    """A process of this boot and all that it came from, as far as they live."""
    found = []
    while pid > 0 and pid not in found:
        found.append(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def of_this_user() -> list[int]:
    """All processes of this boot that belong to the user of this one."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == os.geteuid():
                    found.append(int(entry.name))
            except OSError:
                continue  # gone
    return found


def environment(pid: int) -> dict[bytes, bytes]:
    """What a process was started with; empty where it is gone, a zombie, or closed to us."""
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition(b"=") for line in lines)}


def holds_lock(pid: int, paths: Collection[str]) -> bool:
    """Whether a process has one of ``paths`` open, removed or not, with an flock on it."""
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            if os.readlink(entry.path).removesuffix(" (deleted)") in paths and (
                "FLOCK" in Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
            ):
                return True
    except OSError:
        pass  # gone, or closed to us
    return False


def works_in(pid: int, folder: Path) -> bool:
    """Whether a process's working directory is ``folder``, or was removed since."""
    try:
        link = os.readlink(f"/proc/{pid}/cwd")
        return link.endswith(" (deleted)") or os.path.samefile(link, folder)
    except OSError:
        return True  # not to be seen: the process itself was found by its identity


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}) failed: {os.strerror(number)}")

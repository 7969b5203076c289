"""Identify, signal and inspect processes.

A pid alone does not identify a process, since the kernel reuses pids: the identity is the pid,
the start time in clock ticks, and the boot.
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
    """Identity of a process, different from that of a later one with the same pid."""

    pid: int
    start: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """Identify the process that has ``pid`` now; None if it does not exist."""
        start = start_ticks(pid)
        return None if start is None else cls(pid, start, boot_id())

    @classmethod
    def recorded(cls, pid: int | None, start: int | None, boot_id: str | None) -> "Identity | None":
        """Build the identity from a record; None if the record is incomplete."""
        return None if pid is None or start is None else cls(pid, start, boot_id or "")

    def alive(self) -> bool:
        """Check that the process still runs."""
        return self.boot_id == boot_id() and start_ticks(self.pid) == self.start

    def send(self, signum: int, *, group: bool = False) -> bool:
        """Signal the process (or the process group it leads); return False if it has ended."""
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
            # another process may have got the pid between the check and the open
            if not self.alive():
                return False
            signal.pidfd_send_signal(fd, signum)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True


def start_ticks(pid: int) -> int | None:
    """Read the start time of a live process in clock ticks since boot; None if it has ended."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def is_stopped(pid: int) -> bool:
    """Return whether a signal or a tracer has stopped a process."""
    fields = _stat(pid)
    return fields is not None and fields[0] in "Tt"


def _stat(pid: int) -> list[str] | None:
    """Read what the kernel says of a process, from its state on; None if it has ended.

    Source: proc_pid_stat(5), field 3 and those behind it.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def boot_id() -> str:
    """Read the kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def become_subreaper() -> None:
    """Adopt orphans of this process's children, so that it can end them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Send SIGKILL to this process when the parent's thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def drop_oom_protection() -> None:
    """Reset an inherited protection from the kernel's out-of-memory killer.

    The kernel must kill a trainer before the daemon. Raising the value needs no privilege
    (proc(5)).
    """
    path = Path("/proc/self/oom_score_adj")
    try:
        if int(path.read_text()) < 0:
            path.write_text("0")
    except (OSError, ValueError):
        pass


def children(pid: int) -> list[int]:
    """List the direct children of a process of this boot."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """List a process of this boot and its descendants, except those that were reparented."""
    found = [pid]
    for one in found:
        found += [child for child in children(one) if child not in found]
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """Sum the processor time, user and system, of live processes and the children they reaped.

    Source: proc_pid_stat(5), fields 14 to 17.
    """
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def has_mapped(pid: int, names: Iterable[str]) -> bool:
    """Check that a process of this user has mapped a file whose path contains one of ``names``."""
    try:
        mapped = Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return False
    return any(name in mapped for name in names)


def ancestors(pid: int) -> list[int]:
    """List a process of this boot and its live ancestors."""
    found = []
    while pid > 0 and pid not in found:
        found.append(pid)
        fields = _stat(pid)
        if fields is None:
            break
        pid = int(fields[1])
    return found


def of_this_user() -> list[int]:
    """List all processes that belong to the user of this one."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == os.geteuid():
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended
    return found


def environment(pid: int) -> dict[bytes, bytes]:
    """Read a process's initial environment; empty if it has ended or must not be read."""
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition(b"=") for line in lines)}


def holds_lock(pid: int, paths: Collection[str]) -> bool:
    """Check that a process has one of ``paths`` open, removed or not, with an flock on it."""
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            if os.readlink(entry.path).removesuffix(" (deleted)") in paths and (
                "FLOCK" in Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
            ):
                return True
    except OSError:
        pass  # it has ended, or must not be read
    return False


@dataclass(frozen=True, slots=True)
class OwnDescriptor:
    """Name a descriptor of this process that the user's script does not know of.

    A script that closes all descriptors may have opened a file of its own under this number.

    Attributes:
        file: device and inode that it was opened for.
    """

    fd: int
    file: tuple[int, int]

    @classmethod
    def of(cls, fd: int) -> "OwnDescriptor":
        """Name an open descriptor.

        Raises:
            OSError: it is closed.
        """
        found = os.fstat(fd)
        return cls(fd, (found.st_dev, found.st_ino))

    def is_open(self) -> bool:
        """Return whether it is still the one that was opened."""
        try:
            return OwnDescriptor.of(self.fd) == self
        except OSError:
            return False


def holds_socket(pid: int, fd: int) -> bool:
    """Check that a descriptor of a process is a socket."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
    except OSError:
        return False


def works_in(pid: int, folder: Path) -> bool:
    """Check that a process's working directory is ``folder``, or was removed since."""
    try:
        link = os.readlink(f"/proc/{pid}/cwd")
        return link.endswith(" (deleted)") or os.path.samefile(link, folder)
    except OSError:
        return True  # must not be read: the process was found by its identity


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}) failed: {os.strerror(number)}")

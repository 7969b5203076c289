"""Train a few steps more after the save on SIGTERM: the next attempt repeats and proves them.

Everything is saved by then, so the process may end at any moment, and it does so before anything
that would have an effect outside of it: steps are repeated, their effects are not.
"""

import os
import stat
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from rekindle.jobs.attempt import safe_output, shutdown
from rekindle.jobs.attempt.grace_period import GracePeriod
from rekindle.jobs.environment import EXIT_SAVED
from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.process import OwnDescriptor
from rekindle.state.counted import counted

MOST: Final = 4
"""Steps that are trained after the save; one execution, if that has more."""
SECONDS: Final = 2.0
"""Longest time that they take together."""
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EFFECTS: Final = frozenset(
    {
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "os.utime",
        "os.kill",
        "os.killpg",
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.spawn",
        "os.posix_spawn",
        "subprocess.Popen",
        "socket.connect",
        "socket.sendto",
        "socket.sendmsg",
        "sqlite3.connect",
    }
)
_EVENTS_OF_TENSORBOARD: Final = "events.out.tfevents."


class LastSteps:
    """Decide about the steps after the save on SIGTERM, and end the process in time.

    Args:
        folder: the run directory, whose files are the trainer's own.
        own: the trainer's socket to its keeper; None without one.
    """

    def __init__(self, folder: Path, grace: GracePeriod, own: OwnDescriptor | None = None) -> None:
        self._folder = f"{os.path.realpath(folder)}/"
        self._own = own
        self._grace = grace
        self._last = 0
        self._until: float | None = None

    @property
    def have_begun(self) -> bool:
        """True once everything is saved: the process may end at any moment."""
        return self._until is not None

    def begin(self, step: int, step_seconds: float, cut_back: Iterable[str]) -> bool:
        """Begin them if the grace period is surely long enough; call right after the save.

        Args:
            step: batches trained in the whole run, all of them saved.
            step_seconds: duration of the last step; 0 if none was measured.
            cut_back: files that a relaunch cuts back to their size at the checkpoint.
        """
        left = self._grace.left()
        if not shutdown.listens() or shutdown.has_other_handler() or left is None:
            return False
        if not 0 < step_seconds < SECONDS or left < 2 * SECONDS + self._grace.seconds / 4:
            return False
        held = _held_open(self._folder, {os.path.realpath(path) for path in cut_back}, self._own)
        if held is not None:
            log_line(f"no steps are trained after the save, since the script holds {held} open.")
            return False
        more = counted(MOST, "step")
        log_line(f"saved; training {more} more, which the next attempt repeats and compares.")
        safe_output.flush()
        self._last, self._until = step + MOST, time.monotonic() + SECONDS
        threading.Thread(target=self._end_in_time, name="rekindle-last-steps", daemon=True).start()
        sys.addaudithook(self._end_before_effects)
        return True

    def step_done(self, step: int, step_seconds: float) -> None:
        """End the process after the last step, or where another one may take too long."""
        if step >= self._last or time.monotonic() + step_seconds > (self._until or 0.0):
            shutdown.exit_saved()

    def end(self) -> None:
        """End the process if they have begun: code that is no step would follow."""
        if self.have_begun:
            shutdown.exit_saved()

    def _end_in_time(self) -> None:
        # a step may be traced again, which takes longer than the last one
        while (left := (self._until or 0.0) - time.monotonic()) > 0:
            time.sleep(left)
        os._exit(EXIT_SAVED)

    def _end_before_effects(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EFFECTS or (event == "open" and self._is_foreign_write(*arguments)):
            os._exit(EXIT_SAVED)

    def _is_foreign_write(self, path: Any, mode: Any, flags: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike) or not isinstance(flags, int):
            return False  # a descriptor, which was open before
        return bool(flags & _WRITES) and not _is_own(
            os.path.realpath(os.fsdecode(path)), self._folder
        )


def _is_own(path: str, folder: str) -> bool:
    return path.startswith((folder, "/dev/", "/proc/", "/sys/"))


def _held_open(folder: str, cut_back: set[str], own: OwnDescriptor | None = None) -> str | None:
    """Name a connection, or a file open for writing, that steps would write to."""
    output = {_identity(stream) for stream in (1, 2)}
    for name in os.listdir("/proc/self/fd"):
        try:
            info, path = os.fstat(int(name)), os.readlink(f"/proc/self/fd/{name}")
            if own is not None and (info.st_dev, info.st_ino) == own.file:
                continue
            if stat.S_ISSOCK(info.st_mode):
                return "a connection"
            if not stat.S_ISREG(info.st_mode) or (info.st_dev, info.st_ino) in output:
                continue
            flags = int(Path(f"/proc/self/fdinfo/{name}").read_text().split()[3], 8)
        except (OSError, ValueError, IndexError):
            continue  # closed meanwhile
        if not flags & (os.O_WRONLY | os.O_RDWR) or _is_own(path, folder):
            continue
        if path.startswith("/memfd:") or path.endswith(" (deleted)") or path in cut_back:
            continue
        if not os.path.basename(path).startswith(_EVENTS_OF_TENSORBOARD):
            return path
    return None


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        info = os.fstat(descriptor)
    except OSError:
        return None
    return info.st_dev, info.st_ino

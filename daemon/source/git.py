"""Run git in a repository that may be slow, damaged or hostile: every call has a bound."""

import contextlib
import os
import selectors
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import IO, Final

_MOST_BYTES: Final = 64 * 2**20
_END_S: Final = 5.0
_CONTROL: Final = ("index", "HEAD", "config", "info/exclude")
"""Files in `.git` that git opens to list files; a FIFO there would block it."""


class GitFailed(Exception):
    """Report that git could not list the repository; its text says why."""


class Git:
    """Run git in one repository; nothing of the repository is run.

    Args:
        until: monotonic time at which git must have answered, for all calls together.
    """

    def __init__(self, root: Path, until: float) -> None:
        self.root = root
        self._began = time.monotonic()
        self._until = until

    def refuse_special_files(self, folder: Path) -> None:
        """Refuse a repository in which git would block on a FIFO, a socket or a device.

        Only the places that are certain to be opened are checked, down to ``folder``: anything
        else runs into the bound.

        Raises:
            GitFailed: one of the files is not a regular file.
        """
        below = [folder, *folder.parents]
        places = [place / ".gitignore" for place in below[: below.index(self.root) + 1]]
        for path in (*(self.root / ".git" / name for name in _CONTROL), *places):
            with contextlib.suppress(OSError):
                if not stat.S_ISREG(os.stat(path).st_mode):
                    raise GitFailed(f"{path.relative_to(self.root)} is not a regular file")

    def __call__(self, *words: str, below: str = "") -> bytes | None:
        """Return the output of a command; None if it fails.

        Args:
            below: a folder below the root, to run in.

        Raises:
            GitFailed: git is not installed, did not answer in time, or answers without end.
        """
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        env.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
        # git refuses repositories of other users, and runs hooks and monitors that their
        # configuration names: as the daemon's user
        safe = ("safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null")
        command = ["git", *(part for one in safe for part in ("-c", one))]
        try:
            git = subprocess.Popen(
                [*command, "-C", str(self.root / below), *words],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise GitFailed("git is not installed") from error
        assert git.stdout is not None
        try:
            with git.stdout:
                said = self._read(git.stdout)
            return said if git.wait(max(self._until - time.monotonic(), 0.0)) == 0 else None
        except (GitFailed, subprocess.TimeoutExpired) as error:
            # with what git has started: a filter or a child would keep the pipe and the disk busy
            with contextlib.suppress(ProcessLookupError):
                os.killpg(git.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                git.wait(_END_S)
            if isinstance(error, GitFailed):
                raise
            raise self._late() from error

    def _read(self, output: IO[bytes]) -> bytes:
        parts: list[bytes] = []
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if not selector.select(max(self._until - time.monotonic(), 0.0)):
                    raise self._late()
                part = os.read(output.fileno(), 2**16)
                if not part:
                    return b"".join(parts)
                size += len(part)
                if size > _MOST_BYTES:
                    raise GitFailed(f"git lists more than {_MOST_BYTES >> 20} MiB of names")
                parts.append(part)

    def _late(self) -> GitFailed:
        return GitFailed(f"git did not answer within {self._until - self._began:.0f} s")

"""Refuse files: move them to ``rejected/`` with the reason beside them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from rekindle.daemon.intake.claims import Claim, shortened
from rekindle.state import durable
from rekindle.state.errors import RekindleError, SpecError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

_NAME_MOST: Final = 220


class Refuse:
    """Refuse files of one home; nothing is overwritten."""

    def __init__(self, home: Home, ledger: Ledger, crash_point: Callable[[str], None]) -> None:
        self._home = home
        self._ledger = ledger
        self._crash_point = crash_point
        self._log = structlog.get_logger()

    def claim(self, claim: Claim, error: Exception) -> None:
        """Refuse a claimed spec for any error that prevents its acceptance."""
        self.file(claim.path, claim.name, self._describe(claim.name, error))

    def file(self, path: Path, name: str, error: RekindleError) -> Path:
        """Move a file, with the reason beside it; return its new path."""
        # a person may have removed the inbox with everything in it
        self._home.rejected.mkdir(mode=0o2770, parents=True, exist_ok=True)
        # the reason's name, and that of its temporary file, are longer
        target = self._home.rejected / shortened(name, _NAME_MOST)
        stem, suffix = os.path.splitext(target.name)
        n = 1
        while os.path.lexists(target):
            n += 1
            target = self._home.rejected / f"{stem}-{n}{suffix}"
        inode = path.lstat().st_ino
        # a file's name may hold bytes that are not UTF-8
        reason = target.with_name(f"{target.name}.error.txt")
        durable.write_bytes(
            reason, f"{error}\n".encode(errors="backslashreplace"), 0o640, shared=True
        )
        self._crash_point("explained")
        try:
            os.rename(path, target)
        except OSError:
            reason.unlink(missing_ok=True)
            raise
        self._crash_point("refused")
        self._ledger.add_event(
            "spec_rejected",
            data={
                "file": target.name,
                "inode": inode,
                "error": error.what,
                "hint": error.hint,
                # an event that repeats the one before is counted there: a second refusal must not
                "refused": path.name,
            },
        )
        self._log.warning("spec_rejected", file=name, error=error.what, hint=error.hint)
        return target

    def _describe(self, name: str, error: Exception) -> RekindleError:
        if isinstance(error, RekindleError):
            return error
        self._log.exception("spec_not_understood", file=name)
        return SpecError(
            f"It could not be accepted: {type(error).__name__}: {error}.",
            where=name,
            hint="This is a bug in rekindle; the daemon's log has the traceback. Other "
            "specs are not affected.",
        )

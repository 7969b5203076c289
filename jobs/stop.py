"""The wish to stop: SIGTERM sets it, the training loop looks at it between two steps.

While nothing is being trained (imports, data loading, code around ``fit``) there is
nothing to save beyond the checkpoints on disk, so the process ends at once.
"""

import os
import signal
import sys
from types import FrameType

from rekindle.jobs.environment import EXIT_SAVED

_requested = False
_training = False


def install() -> None:
    """Takes over SIGTERM; call in the main thread before the user's script runs."""
    signal.signal(signal.SIGTERM, _on_signal)


def requested() -> bool:
    """True once SIGTERM has come; the training loop then saves and exits 75."""
    return _requested


def training(active: bool) -> None:
    """Tells whether a training loop is there that will look at :func:`requested`."""
    global _training
    _training = active
    if _requested and not active:
        leave()


def leave() -> None:
    """Ends the process at once with the exit code for *saved, wants to go on*.

    Not ``sys.exit``: an ``except`` in the user's script, or a thread that is not a daemon
    thread, must not keep the process alive.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(EXIT_SAVED)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    global _requested
    _requested = True
    if not _training:
        leave()

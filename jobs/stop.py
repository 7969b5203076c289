"""The wish to stop: SIGTERM sets it, the training loop looks at it between two steps.

While nothing is being trained (imports, data loading, code around ``fit``) there is
nothing to save beyond the checkpoints on disk, so the process ends at once.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from rekindle.jobs.environment import EXIT_SAVED

_requested = False
_training = False
_alone = False


def install() -> None:
    """Takes over SIGTERM; call in the main thread before the user's script runs."""
    signal.signal(signal.SIGTERM, _on_signal)


def install_alone() -> Callable[[], None]:
    """Takes over SIGTERM and Ctrl-C for a script without a daemon; returns what undoes it.

    Such a process is not ours: it ends by an exception, so that the script can clean up, and
    a second Ctrl-C ends it without saving.
    """
    global _alone, _requested
    _alone, _requested = True, False
    before = {number: signal.signal(number, _on_signal)
              for number in (signal.SIGTERM, signal.SIGINT)}

    def undo() -> None:
        global _alone
        _alone = False
        for number, handler in before.items():
            signal.signal(number, handler)
        if _requested:
            # nobody looked at it in time: the script's own way to end
            signal.raise_signal(signal.SIGTERM)

    return undo


def requested() -> bool:
    """True once SIGTERM has come; the training loop then saves and exits 75."""
    return _requested


def training(active: bool, *, quietly: bool = False) -> None:
    """Tells whether a training loop is there that will look at :func:`requested`.

    Args:
        quietly: nothing can be raised here, so that a wish is kept for later.
    """
    global _training
    _training = active
    if _requested and not active and not (quietly and _alone):
        leave()


def leave() -> NoReturn:
    """Ends the process at once with the exit code for *saved, wants to go on*.

    Not ``sys.exit``: an ``except`` in the user's script, or a thread that is not a daemon
    thread, must not keep the process alive. Without a daemon nobody would wait for that.
    """
    end(EXIT_SAVED)


def end(code: int) -> NoReturn:
    """Ends the process at once, as :func:`leave` does, with another exit code."""
    global _requested
    if _alone:
        _requested = False
        if code == EXIT_SAVED:
            print("rekindle: run the script again to go on.", flush=True)
        raise SystemExit(code)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    global _requested
    if _alone and signum == signal.SIGINT and (_requested or not _training):
        raise KeyboardInterrupt
    _requested = True
    if not _training:
        leave()

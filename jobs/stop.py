"""The wish to stop: SIGTERM sets it, the training loop looks at it between two steps.

While nothing is being trained (imports, data loading, code around ``fit``, the first
compilation of a step) there is nothing to save beyond the checkpoints on disk, so the
process ends at once.
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
_unchanged = False
_alone = False
_owner = 0


def install() -> None:
    """Takes over SIGTERM; call in the main thread before the user's script runs."""
    signal.signal(signal.SIGTERM, _on_signal)
    _let_children_go()


def install_alone() -> Callable[[], None]:
    """Takes over SIGTERM and Ctrl-C for a script without a daemon; returns what undoes it.

    Such a process is not ours: it ends by an exception, so that the script can clean up, and
    a second Ctrl-C ends it without saving.
    """
    global _alone, _requested
    _alone, _requested = True, False
    before = {number: signal.signal(number, _on_signal)
              for number in (signal.SIGTERM, signal.SIGINT)}
    _let_children_go()

    def undo() -> None:
        global _alone
        _alone = False
        for number, handler in before.items():
            signal.signal(number, handler)
        if _requested:
            # nobody looked at it in time: the script's own way to end
            signal.raise_signal(signal.SIGTERM)

    return undo


def listens() -> bool:
    """Whether SIGTERM comes here in a process of ours; a script may have taken it over."""
    return not _alone and signal.getsignal(signal.SIGTERM) is _on_signal


def requested() -> bool:
    """True once SIGTERM has come; the training loop then saves and exits 75."""
    return _requested


def training(active: bool, *, quietly: bool = False) -> None:
    """Tells whether a training loop is there that will look at :func:`requested`.

    Args:
        quietly: nothing can be raised here, so that a wish is kept for later.
    """
    global _training, _unchanged
    _training = active
    if not active:
        _unchanged = False
        if _requested and not (quietly and _alone):
            leave()


def unchanged(active: bool) -> None:
    """Tells that the state is still that of the checkpoint on disk, though a step is on its way.

    A first step is compiled for seconds or minutes: one that is asked to stop meanwhile
    need not wait for it.
    """
    global _unchanged
    _unchanged = active


def may_leave_at_once() -> bool:
    """Whether ending now loses nothing."""
    return not _alone and (_unchanged or not _training)


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
    if not _training or may_leave_at_once():
        leave()


def _let_children_go() -> None:
    """A forked child, e.g. a worker of a data pipeline, must end on SIGTERM as any process."""
    global _owner
    if not _owner:
        os.register_at_fork(after_in_child=_in_child)
    _owner = os.getpid()


def _in_child() -> None:
    for number, default in ((signal.SIGTERM, signal.SIG_DFL),
                            (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, default)
            # not those of a script that has its own handler or wakeup
            signal.set_wakeup_fd(-1)

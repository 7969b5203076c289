"""The wish to stop: SIGTERM sets it, the training loop looks at it between two steps.

While nothing is being trained (imports, data loading, code around ``fit``, the first
compilation of a step) there is nothing to save beyond the checkpoints on disk, so the
process ends at once.

A script may have a handler of its own. It is called, but not within a step: the state is saved
at the step's end first, so that whatever the handler does (end the process with 0, raise, set a
flag that ends ``fit``) the training resumes exactly where the request met it.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from rekindle.jobs import journal_writer
from rekindle.jobs.attempt import safe_output
from rekindle.jobs.environment import EXIT_SAVED

_set_handler = signal.signal
_get_handler = signal.getsignal

_requested = False
_training = False
_clean = False
_alone = False
_owner = 0
_script: Callable[[int, FrameType | None], Any] | None = None
"""The script's own handler of SIGTERM."""
_answered = False
_answering = False
_before_answer: Callable[[], None] | None = None


def install() -> None:
    """Takes over SIGTERM; call in the main thread before the user's script runs."""
    _set_handler(signal.SIGTERM, _on_signal)
    signal.signal, signal.getsignal = _signal, _getsignal
    _let_children_go()


def on_answer(action: Callable[[], None]) -> None:
    """Have ``action`` called before the script's own handler: it may end the process."""
    global _before_answer
    _before_answer = action


def answered() -> bool:
    """Tell that SIGTERM has come and a handler of the script's own was called for it."""
    return _answered


def has_other_handler() -> bool:
    """Tell that the script has a handler of SIGTERM of its own."""
    return _script is not None


@functools.wraps(_set_handler)
def _signal(signalnum: Any, handler: Any) -> Any:
    """Stand in for ``signal.signal``: a handler of SIGTERM is kept here and called by ours."""
    global _script
    if signalnum != signal.SIGTERM or os.getpid() != _owner:
        return _set_handler(signalnum, handler)
    before = _getsignal(signalnum)
    own = callable(handler) and handler is not _on_signal
    _set_handler(signalnum, _on_signal if own else handler)
    _script = handler if own else None
    return before


@functools.wraps(_get_handler)
def _getsignal(signalnum: Any) -> Any:
    if signalnum == signal.SIGTERM and _script is not None and os.getpid() == _owner:
        return _script
    return _get_handler(signalnum)


def install_alone() -> Callable[[], None]:
    """Takes over SIGTERM and Ctrl-C for a script without a daemon; returns what undoes it.

    Such a process is not ours: it ends by an exception, so that the script can clean up, and
    a second Ctrl-C ends it without saving.
    """
    global _alone, _requested
    _alone, _requested = True, False
    before = {
        number: _set_handler(number, _on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    _let_children_go()

    def undo() -> None:
        global _alone
        _alone = False
        for number, handler in before.items():
            _set_handler(number, handler)
        if _requested:
            # nobody looked at it in time: the script's own way to end
            signal.raise_signal(signal.SIGTERM)

    return undo


def listens() -> bool:
    """Whether SIGTERM comes here in a process of ours; a script may have taken it over."""
    return not _alone and _get_handler(signal.SIGTERM) is _on_signal


def requested() -> bool:
    """True once SIGTERM has come; the training loop then saves and exits 75."""
    return _requested


def in_training(active: bool, *, quietly: bool = False) -> None:
    """Tells whether a training loop is there that will look at :func:`requested`.

    Args:
        quietly: nothing can be raised here, so that a wish is kept for later.
    """
    global _training, _clean
    _training = active
    if not active:
        _clean = False
        if _requested and not (quietly and _alone):
            exit_saved()


def mark_clean(active: bool) -> None:
    """Tells that the state is still that of the checkpoint on disk, though a step is on its way.

    A first step is compiled for seconds or minutes: one that is asked to stop meanwhile
    need not wait for it.
    """
    global _clean
    _clean = active


def may_exit_at_once() -> bool:
    """Whether ending now loses nothing."""
    return not _alone and (_clean or not _training)


def exit_saved(frame: FrameType | None = None) -> None:
    """Ends the process at once with the exit code for *saved, wants to go on*.

    Not ``sys.exit``: an ``except`` in the user's script, or a thread that is not a daemon
    thread, must not keep the process alive. Without a daemon nobody would wait for that.

    Where the script has a handler of SIGTERM of its own, that is called instead. It returns where
    the handler does.
    """
    global _requested, _answered, _answering
    script = _script
    if script is None or not _requested or _alone:
        end(EXIT_SAVED)
    if _before_answer is not None and not _answered:
        _before_answer()
    _requested, _answered, _answering = False, True, True
    try:
        script(signal.SIGTERM, frame if frame is not None else sys._getframe(1))
    finally:
        _answering = False


def end(code: int) -> NoReturn:
    """Ends the process at once, as :func:`exit_saved` does, with another exit code."""
    global _requested
    if _alone:
        _requested = False
        if code == EXIT_SAVED:
            journal_writer.tell("run the script again to go on.")
        raise SystemExit(code)
    safe_output.flush()
    os._exit(code)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    global _requested
    if _alone and signum == signal.SIGINT and (_requested or not _training):
        raise KeyboardInterrupt
    if _answering:
        end(EXIT_SAVED)  # the script's handler hands it on to the one that it found
    _requested = True
    if not _training or may_exit_at_once():
        exit_saved(frame)


def _let_children_go() -> None:
    """A forked child, e.g. a worker of a data pipeline, must end on SIGTERM as any process."""
    global _owner
    if not _owner:
        os.register_at_fork(after_in_child=_in_child)
    _owner = os.getpid()


def _in_child() -> None:
    for number, default in (
        (signal.SIGTERM, _script or signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if _get_handler(number) is _on_signal:
            _set_handler(number, default)
            # not those of a script that has its own handler or wakeup
            signal.set_wakeup_fd(-1)

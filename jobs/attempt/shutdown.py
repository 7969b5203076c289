"""Stop request: SIGTERM sets it, the training loop checks it between two steps.

While nothing is being trained (imports, data loading, code around ``fit``, the first
compilation of a step) there is nothing to save beyond the checkpoints on disk, so the
process ends at once.

If the script has a SIGTERM handler of its own, that is called, but not within a step: the state
is saved at the end of the step first. Whatever the handler does (exit with 0, raise, set a flag
that ends ``fit``), the training is resumed exactly at the step of the request.
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
"""SIGTERM handler that the script installed."""
_answered = False
_answering = False
_before_answer: Callable[[], None] | None = None
_before_end: Callable[[], object] | None = None


def install() -> None:
    """Install the SIGTERM handler; call in the main thread before the user's script runs."""
    _set_handler(signal.SIGTERM, _on_signal)
    signal.signal, signal.getsignal = _signal, _getsignal
    _let_children_go()


def on_answer(action: Callable[[], None]) -> None:
    """Call ``action`` before the script's own handler, which may end the process."""
    global _before_answer
    _before_answer = action


def before_end(action: Callable[[], object]) -> None:
    """Call ``action`` before this module ends the process."""
    global _before_end
    _before_end = action


def answered() -> bool:
    """Return whether SIGTERM arrived and was passed to the script's own handler."""
    return _answered


def has_other_handler() -> bool:
    """Return whether the script has a SIGTERM handler of its own."""
    return _script is not None


@functools.wraps(_set_handler)
def _signal(signalnum: Any, handler: Any) -> Any:
    """Replace ``signal.signal``: store a SIGTERM handler of the script, which ours calls."""
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
    """Handle SIGTERM and Ctrl-C of a script without a daemon; return a function to undo it.

    Such a process ends by an exception, so that the script can clean up, and a second Ctrl-C
    ends it without saving.
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
            # no training loop checked the request: repeat it for the script's own handler
            signal.raise_signal(signal.SIGTERM)

    return undo


def listens() -> bool:
    """Return whether our handler receives SIGTERM; the script may have replaced it."""
    return not _alone and _get_handler(signal.SIGTERM) is _on_signal


def requested() -> bool:
    """Return whether SIGTERM arrived; the training loop then saves and exits 75."""
    return _requested


def in_training(active: bool, *, quietly: bool = False) -> None:
    """Set whether a training loop runs that checks :func:`requested`.

    Args:
        quietly: nothing may be raised here, so a request is kept for later.
    """
    global _training, _clean
    _training = active
    if not active:
        _clean = False
        if _requested and not (quietly and _alone):
            exit_saved()


def mark_clean(active: bool) -> None:
    """Mark whether memory still equals the last checkpoint: SIGTERM then exits at once.

    Compiling a first step takes seconds or minutes; a stop need not wait for it.
    """
    global _clean
    _clean = active


def may_exit_at_once() -> bool:
    """Return whether the process can end now without repeating any step."""
    return not _alone and (_clean or not _training)


def exit_saved(frame: FrameType | None = None) -> None:
    """End the process at once with the exit code for *saved, to be resumed*.

    Not ``sys.exit``: an ``except`` in the user's script, or a non-daemon thread, must not keep
    the process alive. Without a daemon ``SystemExit`` is raised.

    If the script has a SIGTERM handler of its own, that is called instead, and this returns when
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
    """End the process at once, as :func:`exit_saved` does, with any exit code."""
    global _requested
    if _alone:
        _requested = False
        if code == EXIT_SAVED:
            journal_writer.log_line("run the script again to resume.")
        raise SystemExit(code)
    if _before_end is not None and os.getpid() == _owner:
        _before_end()
    safe_output.flush()
    os._exit(code)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    global _requested
    if _alone and signum == signal.SIGINT and (_requested or not _training):
        raise KeyboardInterrupt
    if _answering:
        end(EXIT_SAVED)  # the script's handler called the previous handler, which is ours
    _requested = True
    if not _training or may_exit_at_once():
        exit_saved(frame)


def _let_children_go() -> None:
    """Restore default handlers in forked children, e.g. data workers, which must end on SIGTERM."""
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
            # only where ours was set: a script with its own handler keeps its wakeup descriptor
            signal.set_wakeup_fd(-1)

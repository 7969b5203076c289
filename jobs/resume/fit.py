"""Resumable ``Model.fit``: Keras' own loop, begun at the epoch and batch of a checkpoint.

Each call of ``fit`` in a script is a stage. A finished stage is restored and returns its recorded
``History``; an interrupted one is resumed; a new one begins. The training loop remains Keras':
a callback after all others restores and saves, and an iterator in place of ``TFEpochIterator``
knows the position in the data.
"""

import inspect
import threading
from typing import Any, Final

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.session import Session
from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import PLAIN_FIT, PLAIN_ITERATOR
from rekindle.jobs.keras_compat.keras_support import NOT_FOLLOWED
from rekindle.jobs.resume.fit_stage import FitStage
from rekindle.jobs.stages import describe
from rekindle.state.errors import RekindleError

_SIGNATURE: Final = inspect.signature(PLAIN_FIT)


class Stages:
    """Run each call of ``fit`` as a stage."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def fit(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        session = self._session
        if session.stages.forked:
            session.report_unfollowed(
                f"`fit` is called in a forked child process: {NOT_FOLLOWED}",
                "Call it in the script's own process, one model after the other; otherwise each "
                "relaunch trains it from scratch.",
            )
            return _fit_plain(model, *args, **kwargs)
        if session.stages.inside:
            return _fit_plain(model, *args, **kwargs)  # belongs to the stage that calls it
        if threading.current_thread() is not threading.main_thread():
            session.report_unfollowed(
                f"`fit` is called in a thread: {NOT_FOLLOWED}",
                "Call it in the main thread; otherwise each relaunch trains it from scratch.",
            )
            return PLAIN_FIT(model, *args, **kwargs)
        bound = _SIGNATURE.bind(model, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments["self"]
        ends = session.stages.ends
        number = session.stages.enter(
            lambda: describe.fit(model, arguments, ends.weights_of(model)), model
        )
        shutdown.in_training(True)
        try:
            stage = FitStage(session, number, model, arguments)
            history = stage.run()
        except RekindleError as error:
            session.fail_permanently(error)
            raise
        except BaseException as error:
            session.stages.leave_by(error)
            raise
        finally:
            session.leave_stage()
            shutdown.in_training(False)
            session.beat("script")
        ends.ended(number, model, stage.dropped)
        return history


def _fit_plain(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Run Keras' own ``fit`` with Keras' own iterator, even within a stage."""
    with internals.epoch_iterator(PLAIN_ITERATOR):
        return PLAIN_FIT(model, *args, **kwargs)

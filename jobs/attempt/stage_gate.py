"""Stages of a script: which one runs, and how each was left."""

import os
from collections.abc import Callable
from typing import Any

from rekindle.jobs import environment
from rekindle.jobs.attempt import shutdown
from rekindle.jobs.ends.stage_ends import StageEnds
from rekindle.jobs.stages.decision import Call
from rekindle.jobs.stages.stage_table import StageTable
from rekindle.state.errors import RekindleError


class StageGate:
    """Number stages and record how each was left.

    Args:
        refuse: ends the process of an attempt with the reason.

    Attributes:
        table: finds the number of each stage.
        ends: what the script does between two stages.
    """

    def __init__(
        self, table: StageTable, ends: StageEnds, refuse: Callable[[RekindleError], None]
    ) -> None:
        self.table = table
        self.ends = ends
        self._refuse = refuse
        self._inside = False
        self._owner = os.getpid()
        self._listeners: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._left_by: BaseException | None = None
        self._pending_end: Callable[[], None] | None = None

    @property
    def inside(self) -> bool:
        """True while a stage runs; a ``fit`` called within it belongs to it."""
        return self._inside

    @property
    def forked(self) -> bool:
        """True in a forked child of the trainer, whose training is not followed."""
        return os.getpid() != self._owner

    def listen(self, entering: Callable[[], None], left: Callable[[], None]) -> None:
        """Call ``entering`` before each stage and ``left`` after it."""
        self._listeners.append((entering, left))

    def enter(self, describe: Callable[[], Call | None], model: Any = None) -> int:
        """Begin a stage and return its 0-based number.

        Args:
            describe: describes the stage, by which it is found again.
            model: of a call of ``fit``.

        Raises:
            StateMismatch: it is not the stage that earlier attempts have begun.
        """
        if shutdown.answered():
            # the script's own SIGTERM handler ended the last stage early: a later stage must not
            # train on its unfinished result
            shutdown.end(environment.EXIT_SAVED)
        self.ends.pause()
        self.settle()
        for entering, _ in self._listeners:
            entering()
        try:
            if model is None:
                self.ends.weights_of(None)
            call = describe()
            number = self.table.enter(call)
        except RekindleError as error:
            self._refuse(error)
            raise
        self.ends.begun(number, model, call)
        self._inside = True
        return number

    def leave(self) -> None:
        """End a stage."""
        self._inside = False
        for _, left in self._listeners:
            left()

    def leave_by(self, error: BaseException) -> None:
        """Record the exception that a stage raised."""
        self._left_by = error

    def is_from_stage(self, error: BaseException) -> bool:
        """Return whether an exception that ends the script was raised by a stage."""
        seen: BaseException | None = error
        for _ in range(20):
            if seen is None:
                break
            if seen is self._left_by:
                return True
            seen = seen.__cause__ or seen.__context__
        return self._inside  # an exception in the body of a loop does not pass through the loop

    def end_later(self, commit: Callable[[], None]) -> None:
        """Defer committing the end of a loop left by ``break`` until the script continues."""
        self._pending_end = commit

    def forget_end(self) -> None:
        """Leave a loop that was left unfinished: the script ends with an error."""
        self._pending_end = None

    def settle(self) -> None:
        """Commit the end of a loop that was left: the script continued or succeeded.

        Not after SIGTERM to the script's own handler, which then is why it left the loop.
        """
        commit, self._pending_end = self._pending_end, None
        if commit is not None and not shutdown.answered():
            commit()

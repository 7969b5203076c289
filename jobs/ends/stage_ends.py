"""Ends of stages: which of them the next stage continues with, and nothing else uses.

A script such as ``for epoch in range(300): model.fit(x, y, epochs=1)`` has 300 ends, each with all
weights. A relaunch needs those of the newest; of the others only where the script looks at the
model between two stages. Above the limit of the spec the weights of ends that nothing looked at are
dropped. A relaunch that does look at such a model is held, before it gets a value.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rekindle.jobs.ends.limit import EndLimit, Follower
from rekindle.jobs.stages.decision import Call
from rekindle.state.errors import RekindleError, StateMismatch


class Uses(Protocol):
    """Notice that the script uses variables."""

    def watch(self, noticed: Callable[[], None]) -> bool:
        """Call ``noticed`` at the next use, before it; return False where none can be noticed."""

    def stop(self) -> None:
        """Watch no longer."""


@dataclass
class _End:
    """The stage that ended last in this attempt.

    Attributes:
        missing: what is known of the weights, if they were dropped.
        used: the script has used variables since.
    """

    stage: int
    model: "weakref.ref[Any]"
    missing: Follower | None
    used: bool = False

    def note_use(self) -> None:
        self.used = True


class StageEnds:
    """Notice uses of a model between two stages; drop weights above the limit.

    Args:
        refuse: ends the process of an attempt with the reason.
    """

    def __init__(self, limit: EndLimit, refuse: Callable[[RekindleError], None]) -> None:
        self._limit = limit
        self._refuse = refuse
        self._uses: Uses | None = None
        self._last: _End | None = None
        self._missing: int | None = None
        self._followers: dict[int, Follower] = {}

    def notice_by(self, uses: Uses) -> None:
        """Notice uses of variables so; without it each end counts as used."""
        self._uses = uses

    def ended(self, stage: int, model: Any, dropped: Any = None) -> None:
        """Watch what the script does with a model once its stage has ended, or was restored.

        Args:
            dropped: the entry of that name in the state of its end.
        """
        self._last = _End(stage, weakref.ref(model), Follower.parse(dropped))
        if self._uses is None or not self._uses.watch(self._use):
            self._use()

    def pause(self) -> None:
        """Stop watching: another stage is about to begin."""
        if self._uses is not None:
            self._uses.stop()

    def weights_of(self, model: Any) -> str | None:
        """Return the digest of the weights that a model would have; None if it has them.

        Args:
            model: None in a loop, which has none, or several.

        Raises:
            StateMismatch: those of another model were dropped.
        """
        last = self._last
        if last is None or last.missing is None or last.model() is None:
            return None
        if last.model() is not model:
            self._hold(last.stage)
        return last.missing.weights

    def begun(self, stage: int, model: Any, call: Call | None) -> None:
        """Note that a stage follows the one that ended last."""
        last, self._last = self._last, None
        self._missing = None
        if last is None or last.model() is not model:
            return
        if last.missing is not None:
            self._missing = last.stage
        if call is not None and stage > last.stage and not last.used:
            self._followers[last.stage] = Follower(stage, call.entry.weights)

    def require_weights(self) -> None:
        """Check that the model has the weights that the stage which has begun starts from.

        Raises:
            StateMismatch: they were dropped.
        """
        if self._missing is not None:
            self._hold(self._missing)

    def drop(self, protected: str | None) -> None:
        """Drop weights above the limit.

        Args:
            protected: name of the best checkpoint, which is never changed.
        """
        self._limit.drop(self._followers, protected)

    def _use(self) -> None:
        last = self._last
        if last is not None:
            last.note_use()
            if last.missing is not None:
                self._hold(last.stage)

    def _hold(self, stage: int) -> None:
        error = StateMismatch(
            f"The script uses the model as stage {stage} left it, and the weights of that stage "
            "were dropped (`checkpoint.keep_ends`): in earlier attempts the next stage continued "
            "with them at once.",
            hint="Restore the code of the earlier attempts and `rekindle release`; or start over "
            "with `rekindle retry JOB --from-scratch`, with a larger `checkpoint.keep_ends`.",
        )
        self._refuse(error)
        raise error

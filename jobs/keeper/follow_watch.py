"""Detect, from outside, an attempt that computes for minutes while nothing is saved.

The keeper checks the processor time of all processes of the attempt and the libraries that they
have mapped. This also covers interpreters that the script starts itself, frameworks that are not
hooked, and commands. A long preparation of data without such a library is not training.
"""

from collections.abc import Iterable
from typing import Final

from rekindle.jobs import process
from rekindle.jobs.heartbeat import ENDED
from rekindle.jobs.keras_compat.keras_support import SCRATCH
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints, entries, summary

NOTHING_SAVED: Final = "No training has been followed so far; nothing is saved."
_HINT: Final = (
    "Train in the script's own process with `fit` of Keras 3, or write the loop with `resumable` "
    f"(docs/loops.md); {SCRATCH}"
)
_COMMAND_HINT: Final = f"Commit checkpoints as docs/spec.md describes for `command`; {SCRATCH}"

AFTER_S: Final = 120.0
"""Seconds of processor time after which training that is not followed is reported."""
_EVERY: Final = 5
_OUTSIDE: Final = {None, "start", "script", ENDED}
_LIBRARIES: Final = (
    "tensorflow",
    "libtorch",
    "jaxlib",
    "/sklearn/",
    "xgboost",
    "lightgbm",
    "catboost",
)
"""Parts of the paths of training libraries."""


class FollowWatch:
    """Watch one attempt until a training is followed or its absence is reported.

    Args:
        command: the job runs a command; it is followed once it has committed a checkpoint.
        after: seconds of processor time.
    """

    def __init__(self, run: Run, attempt: int, *, command: bool, after: float = AFTER_S) -> None:
        self._run = run
        self._attempt = attempt
        self._command = command
        self._after = after
        self._looks = 0
        self._over = False

    def look(self, trainer: int, section: str | None) -> tuple[str, str] | None:
        """Check once a second; return message and hint the first time nothing is followed.

        Args:
            trainer: its pid.
            section: of the last heartbeat of this attempt.
        """
        self._looks += 1
        if self._over:
            return None
        if section not in _OUTSIDE and not self._command:
            self._over = True
            return None
        if self._looks % _EVERY:
            return None
        pids = process.descendants(trainer)
        if process.processor_seconds(pids) < self._after or not _computes(pids):
            return None
        self._over = True
        if self._is_followed():
            return None
        return NOTHING_SAVED, _COMMAND_HINT if self._command else _HINT

    def _is_followed(self) -> bool:
        if self._command:
            return bool(checkpoints.scan(self._run.checkpoints))
        # a short training may have begun and ended between two looks
        return any(
            entry.get("attempt") == self._attempt
            for entry in entries.resumed.among(summary.read(self._run).entries)
        )


def _computes(pids: Iterable[int]) -> bool:
    return any(process.has_mapped(pid, _LIBRARIES) for pid in pids)

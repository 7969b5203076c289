"""Decide how exactly a Keras is followed: by the batch, by whole epochs, or not at all.

Trainer and `rekindle doctor` ask here, so that they never say different things.
"""

from dataclasses import dataclass
from typing import Any, Final

TESTED: Final = ("3.15.1",)
"""Keras versions that exact resume is tested with."""
BACKEND: Final = "tensorflow"
"""The backend whose training loop is followed."""
NOT_FOLLOWED: Final = "this training is not followed; nothing of it is saved."
SCRATCH: Final = "otherwise each relaunch starts from scratch."
"""The end of every hint about training that is not followed."""
HINT: Final = (
    f"Train with `fit` of Keras 3, or write the loop with `resumable` (docs/loops.md); {SCRATCH}"
)
BACKEND_HINT: Final = f'Set `env = {{ KERAS_BACKEND = "{BACKEND}" }}` in the spec.'

EXACT: Final = "exact"
SIMILAR: Final = "similar"
EPOCHS: Final = "epochs"
UNFOLLOWED: Final = "unfollowed"

_OLDEST: Final = 3


@dataclass(frozen=True, slots=True)
class Support:
    """State how a Keras is followed.

    Attributes:
        level: ``exact``; ``similar`` for a version that is not tested with the tested training
            loop; ``epochs``, where only whole epochs can be restored; or ``unfollowed``.
        what: a sentence about it; empty for ``exact``.
        hint: what to do; empty for ``exact``.
    """

    level: str
    what: str = ""
    hint: str = ""


def decide(version: str, backend: str, *, known: bool = False) -> Support:
    """Decide about a version of Keras on a backend; pure.

    Args:
        known: its training loop is that of a tested version.
    """
    tested = ", ".join(TESTED)
    if major(version) < _OLDEST:
        return legacy("keras", version)
    if backend != BACKEND:
        return Support(
            UNFOLLOWED,
            f"The Keras backend is {backend}, where `fit` is not resumable: {NOT_FOLLOWED}",
            BACKEND_HINT,
        )
    if not known:
        return Support(
            EPOCHS,
            f"The training loop of Keras {version} is not a tested one, so this job "
            "is resumed from whole epochs only, and a stop repeats the current epoch.",
            f"Install a tested version ({tested}).",
        )
    if version not in TESTED:
        return Support(
            SIMILAR,
            f"Keras {version} is not tested, but has the training loop of the tested "
            f"version {tested}.",
            "Test exact resume with `rekindle verify-resume SPEC`, or install a tested version.",
        )
    return Support(EXACT)


def legacy(module: str, version: str) -> Support:
    """Describe a Keras that is never followed: Keras 2, and ``tf_keras`` of any version."""
    return Support(UNFOLLOWED, f"{trains_alone(module, version)}: {NOT_FOLLOWED}", HINT)


def trains_alone(module: str, version: str) -> str:
    """Say which Keras trains without being followed."""
    return f"Keras {version} ({module}) trains without rekindle"


def is_legacy(keras: Any) -> bool:
    """Return whether an imported Keras is older than Keras 3."""
    return major(str(keras.__version__)) < _OLDEST


def major(version: str) -> int:
    """Return the first number of a version; 0 if it has none."""
    first = version.partition(".")[0]
    return int(first) if first.isdecimal() else 0


def hook_failed(name: str, version: str, error: BaseException) -> Support:
    """Describe a Keras whose private parts cannot be hooked: nothing is trained with it."""
    return Support(
        UNFOLLOWED,
        f"The training loop of {name} {version} cannot be hooked "
        f"({type(error).__name__}: {error}); nothing was trained.",
        "Install Keras 3.8 or newer (3.11 and newer resume in mid-epoch) into the job's "
        "Python, then `rekindle release JOB`.",
    )

"""Decide how exactly a Keras is followed: by the batch, by whole epochs, or not at all.

Trainer and `rekindle doctor` ask here, so that they never say different things.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rekindle.jobs.keras_compat.known import JAX_TESTED, LEGACY_TESTED, TESTED, TORCH_TESTED
from rekindle.state.counted import few

BACKEND: Final = "tensorflow"
"""The backend that Keras has by default."""
BACKENDS: Final[Mapping[str, tuple[str, ...]]] = {
    BACKEND: TESTED,
    "jax": JAX_TESTED,
    "torch": TORCH_TESTED,
}
"""The backends whose training loop is followed, with the tested versions of Keras."""
NOT_FOLLOWED: Final = "this training is not followed; nothing of it is saved."
SCRATCH: Final = "otherwise each relaunch starts from scratch."
"""The end of every hint about training that is not followed."""
HINT: Final = (
    f"Train with `fit` of Keras 3, or write the loop with `resumable` (docs/loops.md); {SCRATCH}"
)
BACKEND_HINT: Final = (
    f'Set `env = {{ KERAS_BACKEND = "{BACKEND}" }}` in the spec, or "jax", or "torch".'
)

EXACT: Final = "exact"
SIMILAR: Final = "similar"
PARTLY: Final = "partly"
EPOCHS: Final = "epochs"
UNFOLLOWED: Final = "unfollowed"

LOOP: Final = "the training loop"
"""Key of what every ``fit`` rests on; other keys of ``unknown`` are kinds of data."""

Release = tuple[int, ...]
_FIRST: Final = 3
_ALONE: Final = (2, 16)
_OLDEST_LEGACY: Final = (2, 12)
_OLDEST: Final[Mapping[str, Release]] = {BACKEND: (3, 3), "jax": (3, 7), "torch": (3, 7)}
"""Older versions have another API between ``fit`` and its iterator."""


@dataclass(frozen=True, slots=True)
class Support:
    """State how a Keras is followed.

    Attributes:
        level: ``exact``; ``similar`` for a version that is not tested, but has the functions of
            tested ones; ``partly``, where some kinds of data can be restored at whole epochs
            only; ``epochs``, where all can; or ``unfollowed``.
        what: a sentence about it; empty for ``exact``.
        hint: what to do; empty for ``exact``.
    """

    level: str
    what: str = ""
    hint: str = ""


def decide(
    version: str, backend: str, *, unknown: Mapping[str, tuple[str, ...]] | None = None
) -> Support:
    """Decide about a version of Keras 3 on a backend; pure.

    Args:
        unknown: for the training loop (LOOP) and each kind of data, the functions of Keras that
            differ from those of every tested version; None where the source is not installed.
    """
    if backend not in BACKENDS:
        return Support(
            UNFOLLOWED,
            f"The Keras backend is {backend}, where `fit` is not resumable: {NOT_FOLLOWED}",
            BACKEND_HINT,
        )
    tested = BACKENDS[backend]
    words = f"Keras {version}" + ("" if backend == BACKEND else f" on {backend}")
    hint = f"Install Keras {nearest(version, tested)}, the nearest tested version."
    if release(version) < _OLDEST[backend]:
        return _too_old(words, hint)
    return _level(words, version in tested, hint, unknown)


def decide_legacy(
    name: str, version: str, *, unknown: Mapping[str, tuple[str, ...]] | None = None
) -> Support:
    """Decide about a version of legacy Keras; pure.

    Args:
        name: of its module: ``tf_keras``, or ``keras`` for Keras 2.
        unknown: as in :func:`decide`.
    """
    words = f"{name} {version}" if name != "keras" else f"Keras {version}"
    hint = f"Install {_nearest(name, version)}, the nearest tested version."
    if release(version) < _OLDEST_LEGACY:
        return _too_old(words, hint)
    return _level(words, version in LEGACY_TESTED, hint, unknown)


def _too_old(words: str, hint: str) -> Support:
    return Support(UNFOLLOWED, f"{words} is too old to be followed: {NOT_FOLLOWED}", hint)


def _level(
    words: str, is_tested: bool, hint: str, unknown: Mapping[str, tuple[str, ...]] | None
) -> Support:
    if unknown is None and not is_tested:
        return Support(
            EPOCHS,
            f"{words} is not tested and its source is not installed, so this job "
            "is resumed from whole epochs only, and a stop repeats the current epoch.",
            hint,
        )
    unknown = unknown or {}
    if unknown.get(LOOP):
        return Support(
            EPOCHS,
            f"The training loop of {words} is not known: {_differ(unknown[LOOP])}. So this "
            "job is resumed from whole epochs only, and a stop repeats the current epoch.",
            hint,
        )
    parts = {kind: names for kind, names in unknown.items() if names}
    if parts:
        what = "; ".join(f"{kind}: {_differ(names)}" for kind, names in parts.items())
        return Support(
            PARTLY,
            f"{words} is not known in all parts. A `fit` with {' or '.join(parts)} is "
            f"resumed from whole epochs only ({what}).",
            hint,
        )
    if is_tested:
        return Support(EXACT)
    return Support(
        SIMILAR,
        f"{words} is not tested, but all functions that exact resume rests on are those "
        "of tested versions.",
        "Test exact resume with `rekindle verify-resume SPEC`.",
    )


def nearest(version: str, tested: tuple[str, ...] = TESTED) -> str:
    """Return the oldest tested version that is newer; the newest if there is none."""
    known = sorted(tested, key=release)
    newer = [one for one in known if release(one) >= release(version)]
    return (newer or known[-1:])[0]


def _nearest(name: str, version: str) -> str:
    """Return the package to install, of any Keras, e.g. ``tf_keras 2.21.0``."""
    if major(version) >= _FIRST:
        return f"Keras {nearest(version)}"
    near = nearest(version, LEGACY_TESTED)
    # up to 2.15 legacy Keras comes with TensorFlow, as Keras
    of_keras = name == "keras" and release(near) < _ALONE
    return f"TensorFlow {near} with Keras {near}" if of_keras else f"tf_keras {near}"


def release(version: str) -> Release:
    """Return the numbers of a version, up to the first part that is none."""
    numbers: list[int] = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _differ(names: tuple[str, ...]) -> str:
    verb = "differs" if len(names) == 1 else "differ"
    return f"{few([name.partition(':')[2] for name in names], 3)} {verb} from tested versions"


def trains_alone(module: str, version: str) -> str:
    """Say which Keras trains without being followed."""
    return f"Keras {version} ({module}) trains without rekindle"


def is_legacy(keras: Any) -> bool:
    """Return whether an imported Keras is older than Keras 3."""
    return major(str(keras.__version__)) < _FIRST


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
        f"Install {_nearest(name, version)} into the job's Python, then `rekindle release JOB`.",
    )

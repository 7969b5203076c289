"""``architecture.json``: the models of all stages, as Keras serialises them, each once.

It is written when a stage begins, so that an export needs neither the script nor its data. The
checkpoint names its architecture by digest.
"""

import hashlib
import json
from typing import Any, Final, NamedTuple

from rekindle.jobs.journal_writer import log_line
from rekindle.state import durable
from rekindle.state.paths import Run
from rekindle.state.run.training_state import TrainingState

FORMAT: Final = 3
"""Format 1 repeats the models in each stage; up to format 2 the file names that of each stage."""

Models = dict[str, dict[str, Any]]


def store(run: Run, models: dict[str, Any]) -> str:
    """Add an architecture that is not in the file yet, and return its digest.

    Models that differ in the numbers of automatic names or in learning rates have one architecture.
    For a model that Keras cannot serialise the reason is stored. On a full disk the file is not
    written and the training continues.

    Args:
        models: by the label of their variables.
    """
    try:
        known = _read(run)
    except ValueError:
        known = _Known({}, {})
    entries = {label: _entry(model) for label, model in models.items()}
    digest = _digest(entries)
    if digest in known.architectures:
        return digest
    try:
        durable.write_json(
            run.architecture,
            {
                "format": FORMAT,
                "architectures": {**known.architectures, digest: entries},
                "stages": known.stages,
            },
        )
    except OSError as error:
        log_line(f"architecture.json not written: {error}")
    return digest


def load(run: Run, state: TrainingState) -> Models:
    """Read label → ``{"class", "keras", "package", "model" or "problem"}`` of a checkpoint.

    It is empty if that is unknown; ``package`` is the module of Keras where it is not ``keras``,
    ``backend`` its backend where it is not TensorFlow.

    Args:
        state: of the checkpoint. One of an earlier version lacks the digest.

    Raises:
        ValueError: the file is damaged, or of a newer version.
    """
    known = _read(run)
    digest = state.get("architecture") or known.stages.get(str(state["position"]["stage"]), "")
    return known.architectures.get(digest, {})


class _Known(NamedTuple):
    """Hold the models of each architecture by digest, and that of each stage of older versions."""

    architectures: dict[str, Models]
    stages: dict[str, str]


def _read(run: Run) -> _Known:
    """Read the file; empty without one.

    Raises:
        ValueError: it is damaged, or of a newer version.
    """
    try:
        value = json.loads(run.architecture.read_bytes())
    except FileNotFoundError:
        return _Known({}, {})
    if not isinstance(value, dict) or value.get("format", 0) > FORMAT:
        raise ValueError("architecture.json has an unknown format")
    try:
        if value.get("format", 0) < 2:
            stages = {stage: _digest(models) for stage, models in value["stages"].items()}
            return _Known(
                {stages[stage]: models for stage, models in value["stages"].items()}, stages
            )
        stages = {stage: str(digest) for stage, digest in value["stages"].items()}
        return _Known({str(one): dict(of) for one, of in value["architectures"].items()}, stages)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"architecture.json is damaged: {error!r}") from error


def _digest(models: Models) -> str:
    # not above: an export may run the script, which sets up Keras before it imports it
    from rekindle.jobs.stages.model_digest import without_numbers, without_rates

    canonical = {
        label: {key: without_rates(without_numbers(value)) for key, value in entry.items()}
        for label, entry in models.items()
    }
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()[:16]


def _entry(model: Any) -> dict[str, Any]:
    from rekindle.jobs.keras_compat.internals import BACKEND, keras

    entry: dict[str, Any] = {"class": type(model).__name__, "keras": keras.__version__}
    if keras.__name__ != "keras":
        entry["package"] = keras.__name__
    if BACKEND != "tensorflow":
        entry["backend"] = BACKEND
    try:
        # through text: store compares it with what load returns
        return {**entry, "model": json.loads(model.to_json())}
    except Exception as error:  # get_config of a user's layer may raise anything
        return {**entry, "problem": f"{type(error).__name__}: {error}"[:500]}

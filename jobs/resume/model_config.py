"""``architecture.json``: the models of each stage, as Keras serialises them.

It is written when a stage begins, so that an export needs neither the script nor its data.
"""

import hashlib
import json
from typing import Any, Final, NamedTuple

from rekindle.jobs.journal_writer import log_line
from rekindle.state import durable
from rekindle.state.paths import Run

FORMAT: Final = 2
"""Format 1 repeats the models in each stage."""

Models = dict[str, dict[str, Any]]


def store(run: Run, stage: int, models: dict[str, Any]) -> None:
    """Add the models of a stage; ``models`` by the label of their variables.

    Each architecture is written once, however many stages train it. For a model that Keras cannot
    serialise the reason is stored. On a full disk the file is not written and the training
    continues.
    """
    try:
        known = _read(run)
    except ValueError:
        known = _Known({}, {})
    entries = {label: _entry(model) for label, model in models.items()}
    digest = _digest(entries)
    if known.stages.get(str(stage)) == digest and digest in known.architectures:
        return
    stages = {**known.stages, str(stage): digest}
    used = set(stages.values())
    architectures = {**known.architectures, digest: entries}
    try:
        durable.write_json(
            run.architecture,
            {
                "format": FORMAT,
                "architectures": {one: architectures[one] for one in architectures if one in used},
                "stages": stages,
            },
        )
    except OSError as error:
        log_line(f"architecture.json not written: {error}")


def load(run: Run) -> dict[str, Models]:
    """Read stage → label → ``{"class", "keras", "model" or "problem"}``; empty without a file.

    Raises:
        ValueError: the file is damaged, or of a newer version.
    """
    known = _read(run)
    return {stage: known.architectures[digest] for stage, digest in known.stages.items()}


class _Known(NamedTuple):
    """Hold the models of each architecture by digest, and the architecture of each stage."""

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
        return _Known({one: value["architectures"][one] for one in stages.values()}, stages)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"architecture.json is damaged: {error!r}") from error


def _digest(models: Models) -> str:
    return hashlib.sha256(json.dumps(models, sort_keys=True).encode()).hexdigest()[:16]


def _entry(model: Any) -> dict[str, Any]:
    import keras

    entry: dict[str, Any] = {"class": type(model).__name__, "keras": keras.__version__}
    try:
        # through text: store compares it with what load returns
        return {**entry, "model": json.loads(model.to_json())}
    except Exception as error:  # get_config of a user's layer may raise anything
        return {**entry, "problem": f"{type(error).__name__}: {error}"[:500]}

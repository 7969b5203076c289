"""``architecture.json``: the models of each stage, as Keras serialises them.

It is written when a stage begins, so that an export needs neither the script nor its data.
"""

import json
from typing import Any, Final

from rekindle.jobs.journal_writer import log_line
from rekindle.state import durable
from rekindle.state.paths import Run

FORMAT: Final = 1


def store(run: Run, stage: int, models: dict[str, Any]) -> None:
    """Add the models of a stage; ``models`` by the label of their variables.

    For a model that Keras cannot serialise the reason is stored. On a full disk the file is not
    written and the training continues.
    """
    try:
        known = load(run)
    except ValueError:
        known = {}
    entries = {label: _entry(model) for label, model in models.items()}
    if known.get(str(stage)) == entries:
        return
    try:
        durable.write_json(
            run.architecture, {"format": FORMAT, "stages": {**known, str(stage): entries}}
        )
    except OSError as error:
        log_line(f"architecture.json not written: {error}")


def load(run: Run) -> dict[str, dict[str, dict[str, Any]]]:
    """Read stage → label → ``{"class", "keras", "model" or "problem"}``; empty without a file.

    Raises:
        ValueError: the file is damaged, or of a newer version.
    """
    try:
        value = json.loads(run.architecture.read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict) or value.get("format", 0) > FORMAT:
        raise ValueError("architecture.json has an unknown format")
    stages: dict[str, dict[str, dict[str, Any]]] = value["stages"]
    return stages


def _entry(model: Any) -> dict[str, Any]:
    import keras

    entry: dict[str, Any] = {"class": type(model).__name__, "keras": keras.__version__}
    try:
        # through text: store compares it with what load returns
        return {**entry, "model": json.loads(model.to_json())}
    except Exception as error:  # get_config of a user's layer may raise anything
        return {**entry, "problem": f"{type(error).__name__}: {error}"[:500]}

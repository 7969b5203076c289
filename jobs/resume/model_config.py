"""``architecture.json``: what the models of each stage are, as Keras serialises them.

It is written when a stage begins, so that an export needs neither the script nor its data.
"""

import json
from typing import Any, Final

from rekindle.jobs.journal_writer import tell
from rekindle.state import durable
from rekindle.state.paths import Run

FORMAT: Final = 1


def store(run: Run, stage: int, models: dict[str, Any]) -> None:
    """Adds the models of a stage; ``models`` by the label of their variables.

    A model that Keras cannot serialise is noted with the reason. A disk that is full costs
    the file, not the training.
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
        tell(f"the architecture could not be kept: {error}")


def load(run: Run) -> dict[str, dict[str, dict[str, Any]]]:
    """Stage → label → ``{"class", "keras", "model" or "problem"}``; empty where there is none.

    Raises:
        ValueError: the file is damaged, or of a newer version.
    """
    try:
        value = json.loads(run.architecture.read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict) or value.get("format", 0) > FORMAT:
        raise ValueError("architecture.json is not of a format that is known here")
    stages: dict[str, dict[str, dict[str, Any]]] = value["stages"]
    return stages


def _entry(model: Any) -> dict[str, Any]:
    import keras

    entry: dict[str, Any] = {"class": type(model).__name__, "keras": keras.__version__}
    try:
        # through text, so that what is compared is what is read
        return {**entry, "model": json.loads(model.to_json())}
    except Exception as error:  # code of the user's: anything
        return {**entry, "problem": f"{type(error).__name__}: {error}"[:500]}

"""Automatic names: Keras numbers them per process, so a relaunch may number them differently.

A script that trains or builds less in a relaunch, because it finds a result on disk, gets
``dense`` where the first attempt got ``dense_3``. Such a name is replaced by its class and its
rank among the names of the model, which says the same without the number.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from rekindle.jobs.keras_compat import internals
from rekindle.jobs.keras_compat.internals import keras

Ranks = dict[str, str]
"""Canonical form of each automatic name, e.g. ``dense#0`` of ``dense_3``."""

_NAMING: Final = frozenset({"name", "keras_history", "input_layers", "output_layers"})
_GENERATED: Final = re.compile(r"(?<![A-Za-z0-9])(seed_generator|variable)_\d+(?![A-Za-z0-9])")


def ranks(named: Iterable[tuple[str, str]]) -> Ranks:
    """Rank the automatic names among ``named``, pairs of class and name in a fixed order."""
    found: Ranks = {}
    counts: dict[str, int] = {}
    for kind, name in named:
        # Bidirectional puts a word in front of its layers' names
        match = re.fullmatch(rf"((?:forward_|backward_)?{_snake_case(kind)})(_\d+)?", name)
        if name in found or match is None:
            continue
        base = match[1]
        found[name] = f"{base}#{counts.get(base, 0)}"
        counts[base] = counts.get(base, 0) + 1
    return found


def of_models(models: Iterable[Any], optimizers: Iterable[Any] = ()) -> Ranks:
    """Rank the automatic names of models, their layers, operations and metrics, and optimizers."""
    named: list[tuple[str, str]] = []
    layers_of = [(model, list(model._flatten_layers())) for model in models]
    for _, layers in layers_of:
        for layer in layers:
            named.append(_pair(layer))
            # `a + b` in a functional model is an operation with a name, not a layer
            named += map(_pair, getattr(layer, "_operations", ()))
    named += map(_pair, optimizers)
    for model, layers in layers_of:
        for _, part in internals.compiled_parts(model):
            if isinstance(part, keras.metrics.Metric):
                named.append(_pair(part))
        for layer in layers:
            named += map(_pair, vars(layer).get("_metrics") or ())
    return ranks(named)


def _pair(thing: Any) -> tuple[str, str]:
    # optimizers of legacy Keras may have no public name
    return type(thing).__name__, str(getattr(thing, "name", None) or getattr(thing, "_name", ""))


def without_numbers(value: Any, names: Ranks) -> Any:
    """Replace automatic names in the settings of a layer by their canonical forms."""
    pattern = _pattern(names)
    return _replaced(value, lambda text: _canonical(text, names, pattern))


class Renaming:
    """Compare paths of variables, whatever their automatic names.

    Args:
        then, now: automatic names at the checkpoint, and those of this attempt.

    Attributes:
        now: the latter.
    """

    def __init__(self, then: Ranks, now: Ranks) -> None:
        self._then, self.now = then, now
        self._patterns = _pattern(then), _pattern(now)

    def canonical(self, then: str, now: str) -> tuple[str, str]:
        """Return a saved and a current path in canonical form."""
        return (
            _canonical(then, self._then, self._patterns[0]),
            _canonical(now, self.now, self._patterns[1]),
        )


def _pattern(names: Ranks) -> re.Pattern[str] | None:
    if not names:
        return None
    # an optimizer joins names by underscores; the longest first: dense_12 is not dense_1
    longest = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(longest)})(?![A-Za-z0-9]|_\d)")


def _canonical(text: str, names: Ranks, pattern: re.Pattern[str] | None) -> str:
    if pattern is not None:
        text = pattern.sub(lambda match: names[match[0]], text)
    return _GENERATED.sub(r"\1", text)


def _replaced(value: Any, canonical: Callable[[str], str], *, here: bool = False) -> Any:
    """Replace the texts below the keys that hold names of layers; ``softmax`` may be a setting."""
    if isinstance(value, str):
        return canonical(value) if here else value
    if isinstance(value, dict):
        return {
            key: _replaced(item, canonical, here=key in _NAMING or (here and key != "class_name"))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_replaced(item, canonical, here=here) for item in value]
    return value


def _snake_case(name: str) -> str:
    """Convert the name of a class as Keras does."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()

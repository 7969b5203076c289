"""Find at a save what a relaunch could not decode, while the objects still exist."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

from rekindle.jobs.capture.codec import Tensors, decode, encode
from rekindle.jobs.capture.component import Caveat
from rekindle.state.run.training_state import TrainingState

_ARRAYS = frozenset({"scalar", "array", "variable", "tensor", "torch", "jax"})
_REMEDY = (
    "hold plain data, arrays and variables there, or define state_dict() and load_state_dict()"
)


def caveats(state: TrainingState, arrays: Tensors) -> Iterator[Caveat]:
    """Decode what callbacks and ``state=`` hold, and name what does not come back.

    Args:
        state, arrays: a captured state.
    """
    for place, value in _values(state):
        reason = trouble(value, arrays)
        if reason is not None:
            yield Caveat(f"{place} could not be restored ({reason})", _REMEDY)


def trouble(value: Any, arrays: Tensors) -> str | None:
    """Decode an encoded value into new objects; return why it does not come back, else None."""
    try:
        plain = json.loads(json.dumps(_without_variables(value)))
        made = decode(plain, arrays)
        again: Tensors = {}
        encoded = encode(made, again, "again")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if _canonical(plain, arrays) != _canonical(encoded, again):
        return "another value comes back"
    return None


def _values(state: TrainingState) -> Iterator[tuple[str, Any]]:
    for name, kept in state.get("callbacks", []):
        if "own" in kept:
            yield f"The state_dict of the callback {name}", kept["own"]
        for attribute, value in kept.get("attributes", {}).items():
            yield f"The attribute {attribute} of the callback {name}", value
    for name, (kind, body) in state.get("state", {}).items():
        if kind == "attributes":
            for attribute, value in body.items():
                yield f"state[{name!r}].{attribute}", value
        else:
            yield f"state[{name!r}]", body


def _without_variables(value: Any) -> Any:
    """Make variables arrays: a relaunch restores them into those that exist."""
    if isinstance(value, list):
        return [_without_variables(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, body),) = value.items()
    if tag in _ARRAYS:
        return {"array": body[:2]}
    if tag == "named":  # its class is that of the existing one
        return {"tuple": _without_variables(body[2])}
    if tag == "torch_generator":
        return value
    return {tag: _without_variables(body)}


def _canonical(value: Any, arrays: Tensors) -> Any:
    """Replace the names of arrays by their content, so that two encodings can be compared."""
    if isinstance(value, list):
        return [_canonical(item, arrays) for item in value]
    if not isinstance(value, dict):
        return repr(value)
    ((tag, body),) = value.items()
    if tag in _ARRAYS:
        key, dtype = body[:2]  # that of PyTorch follows
        array = arrays[key]
        return [dtype, array.shape, zlib.crc32(array.tobytes())]
    return {tag: _canonical(body, arrays)}

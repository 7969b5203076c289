"""Which seed generators a ``tf.data`` pipeline draws from."""

from typing import Any

from rekindle.jobs import randomness


def seed_generators(dataset: Any) -> list[int]:
    """Numbers of the generators that functions of the dataset capture.

    Those advance as the pipeline reads ahead, so they are put back to where a pass over
    the data began, and the pass is read again.
    """
    handles = {id(handle) for handle in _captured(dataset)}
    return [number for number, generator in randomness.generators()
            if id(generator.state._value.handle) in handles]


def _captured(dataset: Any) -> list[Any]:
    found: list[Any] = []
    queue, seen = [dataset], set()
    while queue:
        current = queue.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        for function in _call(current, "_functions"):
            concrete = getattr(function, "function", None)
            found.extend(getattr(concrete, "captured_inputs", ()))
        queue.extend(_call(current, "_inputs"))
    return found


def _call(dataset: Any, name: str) -> list[Any]:
    method = getattr(dataset, name, None)
    try:
        return list(method()) if callable(method) else []
    except NotImplementedError:
        return []

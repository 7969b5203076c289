"""Find Python values that have changed since a `tf.function` of the script was traced with them.

A trace holds them as constants. A relaunch restores them and traces with what they are then.
"""

import types
from collections.abc import Iterator
from typing import Any

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.object_kinds import kinds, values
from rekindle.jobs.python_state.reach import Node, Reach


def caveats(entry: Reach, now: Reach) -> Iterator[Caveat]:
    """Name the values that traced functions read, and that are others than at the entry."""
    for node in now.nodes.values():
        function = _python_function(node.value)
        if function is not None and node.value.experimental_get_tracing_count():
            yield from _of_function(node.path, function, entry, now)
        elif node.kind is kinds.OBJECT:
            yield from _of_methods(node, entry)


def _python_function(value: Any) -> types.FunctionType | None:
    """Return the Python function in a `tf.function`."""
    if not type(value).__module__.startswith("tensorflow."):
        return None
    found = own_code.unwrapped(kinds.attributes(value).get("_python_function"))
    return found if own_code.is_own_function(found) else None


def _of_function(
    path: str, function: types.FunctionType, entry: Reach, now: Reach
) -> Iterator[Caveat]:
    names = own_code.all_names(function.__code__) | {*function.__code__.co_freevars}
    for node in now.nodes.values():
        if node.kind is kinds.GLOBALS or node.value is function:
            for label in _changed(node, entry):
                if label.strip("<>") in names:
                    yield _caveat(values.readable(node.path, label), values.readable(path))


def _of_methods(node: Node, entry: Reach) -> Iterator[Caveat]:
    changed = list(_changed(node, entry))
    if not changed:
        return
    for owner in own_code.own_classes(node.value):
        for name, item in vars(owner).items():
            function = _python_function(item)
            names = own_code.all_names(function.__code__) if function is not None else ()
            for label in changed:
                if label.removeprefix(".") in names:
                    yield _caveat(values.readable(node.path, label), f"{owner.__qualname__}.{name}")


def _changed(node: Node, entry: Reach) -> Iterator[str]:
    """Yield the labels of numbers, texts and the like that are others than at the entry."""
    before = entry.nodes.get(node.path)
    known = {label: expr for label, _, expr in before.content} if before is not None else {}
    for label, _, expr in node.content:
        is_plain = not values.references(expr) and not values.opaque(expr)
        if is_plain and label in known and expr != known[label]:
            yield label


def _caveat(path: str, function: str) -> Caveat:
    return Caveat(
        f"{path} has changed since {function} may have been traced with it, and a relaunch traces "
        "it with the new value",
        "pass it as an argument, or make it a tf.Variable",
    )

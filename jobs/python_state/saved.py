"""Python state in a checkpoint: what it was when the attempt began, and what has changed."""

from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple, TypedDict

from rekindle.jobs.capture.codec import Tensors, Unsupported
from rekindle.jobs.object_kinds import kinds, values
from rekindle.jobs.object_kinds.kinds import Leaf
from rekindle.jobs.python_state.reach import Node, Reach
from rekindle.state.run.training_state import TrainingState


class Record(TypedDict, total=False):
    """Hold an object that has changed.

    Attributes:
        kind, type: of the object.
        content: label, key and value of each binding; of a leaf, what its kind made.
        digest: of its content, as in ``begun``.
    """

    kind: str
    type: str
    content: Any
    digest: Any


class _Own(TypedDict, total=False):
    own: list[str]


class PythonRecords(_Own):
    """Hold the Python state of a stage.

    Attributes:
        begun: digests of every object by path, as of the entry of the attempt that saved it.
        changed: records of those that are others now, and of new ones, by path.
        own: paths of objects that are not restored; only in memory.
    """

    begun: dict[str, Any]
    changed: dict[str, Record]


class Unsaved(NamedTuple):
    """Name a binding whose new value is not saved, and the type of that value."""

    path: str
    type: str
    is_iterator: bool = False


def changed_nodes(entry: Reach, now: Reach) -> Iterator[Node]:
    """Yield the objects that are new, or whose content is another than at the entry."""
    for path, node in now.nodes.items():
        before = entry.nodes.get(path)
        if before is None or before.kind is not node.kind:
            yield node
        elif isinstance(node.kind, Leaf):
            if node.digest != before.digest:
                yield node
        elif (
            node.content is not before.content
            and node.content != before.content
            and repr(node.content) != repr(before.content)
        ):
            yield node


def digests(reach: Reach) -> dict[str, Any]:
    """Return the digests of every object by path; objects without bindings are left out."""
    found = {path: node.digests() for path, node in reach.nodes.items()}
    return {path: digest for path, digest in found.items() if digest != {}}


def out(entry: Reach, now: Reach, arrays: Tensors) -> tuple[PythonRecords, list[Unsaved]]:
    """Return what a checkpoint holds, and what a new process cannot make or find again.

    An object that cannot be made is restored where the next attempt has its like at the same path.
    """
    changed: dict[str, Record] = {}
    unsaved: list[Unsaved] = []
    for number, node in enumerate(changed_nodes(entry, now)):
        record: Record = {"kind": node.kind.name, "type": node.type, "digest": node.digests()}
        if (
            node.path not in entry.nodes
            and node.kind.name in _OBJECTS
            and not (node.kind.made or can_be_made(type(node.value), node.content))
        ):
            unsaved.append(Unsaved(values.readable(node.path), node.type))
        if isinstance(node.kind, Leaf):
            prefix = f"python/{number:05d}"
            try:
                record["content"] = node.kind.out(node.value, arrays, prefix)
            except (Unsupported, ValueError) as error:
                for key in [key for key in arrays if key.startswith(prefix)]:
                    del arrays[key]
                path = values.readable(node.path)
                unsaved.append(Unsaved(path, str(error), node.kind.is_iterator))
                continue
        else:
            record["content"] = node.content
            unsaved += _opaque(entry.nodes.get(node.path), node)
        changed[node.path] = record
    return {"begun": digests(entry), "changed": changed}, unsaved


_OBJECTS: Final = frozenset({"object", "keras", "callback", "variable"})


def can_be_made(owner: type, content: list[Any]) -> bool:
    """Return whether a relaunch can make an object of a class, given all that it holds."""
    return kinds.is_plain_class(owner) and not any(values.opaque(expr) for _, _, expr in content)


def new_object(record: Record, classes: dict[str, type]) -> Any:
    """Make an object of one of the job's classes, still without attributes; None if not."""
    owner = classes.get(record["type"])
    if owner is None or not can_be_made(owner, record["content"]):
        return None
    return object.__new__(owner)


def _opaque(before: Node | None, node: Node) -> Iterator[Unsaved]:
    """Name bindings to something that cannot be saved, and that the entry had not."""
    known = {label: expr for label, _, expr in before.content} if before is not None else {}
    for label, _, expr in node.content:
        if expr != known.get(label):
            for type_ in values.opaque(expr):
                yield Unsaved(values.readable(node.path, label), type_)


def without(state: TrainingState, paths: Collection[str]) -> TrainingState:
    """Leave out what training has made of the objects at some paths, and of what they hold."""
    python = state.get("python")
    if python is None or not paths:
        return state
    changed = {k: record for k, record in python["changed"].items() if not is_inside(k, paths)}
    left = state.copy()
    left["python"] = {**python, "changed": changed, "own": [*paths]}
    return left


def is_inside(path: str, paths: Collection[str]) -> bool:
    """Return whether an object is one of those at some paths, or held by one of them."""
    if not paths:
        return False
    path = path.lstrip("+")
    return path in paths or path.startswith(
        tuple(f"{one}{mark}" for one in paths for mark in (".", "["))
    )

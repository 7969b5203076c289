"""Reach: every mutable object that the roots of a stage lead to, each with one path.

The walk goes breadth first and in the order of the script, so that an object has the same path in
every attempt. It enters the job's own functions (closures, defaults, bound objects, the globals
that their bytecode names), and no module, file, lock, thread or library function.
"""

import collections
import enum
import functools
import operator
import random
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.bytecode.identity import identity_of
from rekindle.jobs.object_kinds import kinds, leaves, values
from rekindle.jobs.object_kinds.kinds import Globals, Kind, Leaf, Slot
from rekindle.jobs.object_kinds.values import Expr, type_name
from rekindle.jobs.python_state.frame import FRAME, Frame

MOST: Final = 10_000
"""Most objects that are followed."""

Classify = Callable[[Any], Kind | None]
"""Choose the kind of an object that is none of Python's own; None to leave the choice."""

OPAQUE: Final = Kind()
"""A kind for what is never entered."""

_WALKED: Final = frozenset(
    {"argparse.Namespace", "types.SimpleNamespace", "collections.UserDict", "collections.UserList"}
)
_CLOSED: Final = (
    "tensorflow keras tf_keras jax torch numpy pandas scipy PIL matplotlib h5py builtins "
    "tqdm wandb mlflow comet_ml neptune clearml tensorboard tensorboardX rich optuna ray "
    "requests urllib3 psutil pynvml rekindle "
)
_CLOSED_NAMES: Final = frozenset(_CLOSED.split())
# made once: each object of each walk is compared
_NAMED: Final = (enum.Enum, tuple, type)
_NO_OBJECTS: Final = (enum.Enum, BaseException)


@dataclass(slots=True)
class Node:
    """Hold one object as it was found.

    Attributes:
        path: unique.
        content: label, key and value of each settable binding, keys and values expressed.
        keys: the key of each binding, itself.
        digest: of a leaf.
    """

    path: str
    kind: Kind
    value: Any
    content: list[tuple[str, Expr, Expr]] = field(default_factory=list)
    keys: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    _digests: Any = None

    def read_leaf(self, kind: Leaf) -> None:
        """Digest the content of a leaf."""
        self.digest = kind.digest(self.value)

    def hold(self, content: list[tuple[str, Expr, Expr]], keys: dict[str, Any]) -> None:
        """Set what was read."""
        self.content, self.keys, self._digests = content, keys, None

    def hold_same(self, before: "Node") -> None:
        """Set what was read of the same object before, with its digests."""
        self.content, self.keys, self._digests = before.content, before.keys, before._digests

    @property
    def type(self) -> str:
        """Name of its type, with what a new object of it needs."""
        text = type_name(type(self.value))
        if type(self.value) is collections.deque and self.value.maxlen is not None:
            text += f":{self.value.maxlen}"
        if type(self.value) is collections.defaultdict:
            factory = self.value.default_factory
            text += f":{type_name(factory) if isinstance(factory, type) else ''}"
        return text

    def digests(self) -> Any:
        """Return digests of all bindings, or of the object where it is restored as a whole."""
        if isinstance(self.kind, Leaf):
            return self.digest
        if self._digests is None:
            # asked for once for each binding
            self._digests = (
                values.digest([expr for _, _, expr in self.content])
                if self.kind.whole
                else {label: values.digest(expr) for label, _, expr in self.content}
            )
        return self._digests


class Reading(NamedTuple):
    """Hold what was read of an object, for the next walk.

    Attributes:
        made_of: the objects that it was read from.
        entered: path and object of each reference in it.
        classes: enumerations and named tuples among its values.
    """

    node: Node
    made_of: list[Any]
    entered: list[tuple[str, str, Any]]
    classes: list[Any]


class Reach:
    """Walk from the roots and hold what was found.

    Args:
        roots: objects by the path that names them; None is left out.
        classify: chooses kinds for objects of Keras and TensorFlow.
        known: the graph of an earlier walk; objects that it holds keep their paths there.
        closed: identities of objects that others restore.
        last: the last walk, if objects that it did not enter are not entered now either.

    Attributes:
        nodes: by path, in the order of the walk.
        classes: enumerations and named tuples that were met, by name.
        left_out: paths of objects beyond the limit.
        readings: by path, of objects whose kind tells what they are made of.
    """

    def __init__(
        self,
        roots: dict[str, Any],
        classify: Classify,
        known: "Reach | None" = None,
        closed: frozenset[int] = frozenset(),
        last: "Reach | None" = None,
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.classes: dict[str, type] = dict(known.classes) if known is not None else {}
        self.left_out: list[str] = []
        self.readings: dict[str, Reading] = {}
        before = last.readings if last is not None and not last.left_out else {}
        self._paths: dict[int, str] = {}
        self._adopted: dict[int, tuple[str, Any]] = {}
        self._adopted_as: dict[str, int] = {}
        self._classify = classify
        self._closed = closed
        self._known = known
        self._globals: dict[int, Globals] = dict(known._globals) if known is not None else {}
        self._queue: collections.deque[Node] = collections.deque()
        for path, root in roots.items():
            if root is not None:
                self._enter(path, root)
        self._run(before)

    def at(self, path: str) -> Any:
        """Return the object at a path.

        Raises:
            Unresolvable: there is none.
        """
        if path not in self.nodes:
            raise values.Unresolvable(path)
        return self.nodes[path].value

    def path_of(self, value: Any) -> str | None:
        """Return the path of an object that was found."""
        return (
            self._paths.get(identity_of(value)) or self._adopted.get(identity_of(value), (None,))[0]
        )

    def forget_readings(self) -> None:
        """Let go of what was kept for the next walk."""
        self.readings = {}

    def adopt(self, path: str, value: Any) -> None:
        """Give an object that a restore has made the path that it had in the checkpoint."""
        self._adopted.pop(self._adopted_as.get(path, 0), None)
        self._adopted[identity_of(value)] = (path, value)
        self._adopted_as[path] = identity_of(value)

    def _run(self, before: dict[str, Reading]) -> None:
        """Walk until neither objects nor names of globals are left."""
        done: dict[int, int] = {}
        while True:
            while self._queue:
                node = self._queue.popleft()
                made_of = node.kind.made_of(node.value)
                if made_of is None:
                    self._read(node)
                elif not self._is_same(node, made_of, before.get(node.path)):
                    reading = Reading(node, made_of, [], [])
                    self._read(node, reading)
                    self.readings[node.path] = reading
            grown = False
            for number, found in list(self._globals.items()):
                if done.get(number) != len(found.names):
                    done[number] = len(found.names)
                    grown = True
                    path = f"globals of {found.label.rstrip('.') or '__main__'}"
                    node = self.nodes.setdefault(path, Node(path, kinds.GLOBALS, found))
                    self._read(node)
            if not grown:
                return

    def _is_same(self, node: Node, made_of: list[Any], before: Reading | None) -> bool:
        """Take over what the last walk read, if the object is made of the same objects."""
        if (
            before is None
            or before.node.value is not node.value
            or before.node.kind is not node.kind
            or len(before.made_of) != len(made_of)
            or not all(map(operator.is_, before.made_of, made_of))
            or any(self._enter(path, value) != then for path, then, value in before.entered)
        ):
            return False
        for value in before.classes:
            self._meet(value)
        node.hold_same(before.node)
        self.readings[node.path] = before._replace(node=node)
        return True

    def _read(self, node: Node, reading: Reading | None = None) -> None:
        if isinstance(node.kind, Leaf):
            node.read_leaf(node.kind)
            return
        if type(node.value) is types.FunctionType:
            self._name_globals(node.value.__code__, node.value.__globals__)
        elif type(node.value) is Frame:
            name = self._name_globals if node.value.is_function else self._name_modules
            name(node.value.code, node.value.namespace)
        content: list[tuple[str, Expr, Expr]] = []
        keys: dict[str, Any] = {}
        is_dict = isinstance(node.kind, kinds.DictKind)
        for slot in _copied(node.kind, node.value):
            expr, refer = slot.value, None
            if is_dict or type(slot.value) not in values.PLAIN:
                path = node.kind.path(node.value, node.path, slot)
                refer = functools.partial(self._enter, path)
                if reading is not None:
                    refer = functools.partial(self._note, reading, path)
                    if isinstance(slot.value, _NAMED):
                        reading.classes.append(slot.value)
                expr = values.express(slot.value, refer)
                self._meet(slot.value)
            if not slot.settable:
                continue
            label = slot.label
            while label in keys:
                label += "~"
            keys[label] = slot.key
            key = values.express(slot.key, refer) if is_dict and refer is not None else None
            content.append((label, key, expr))
        if node.kind is kinds.SET:
            content.sort(key=lambda entry: values.canonical(entry[2]))
        node.hold(content, keys)

    def _note(self, reading: Reading, path: str, value: Any) -> str | None:
        """Enter an object, and note that for the next walk."""
        found = self._enter(path, value)
        if found is not None:
            reading.entered.append((path, found, value))
        return found

    def _enter(self, path: str, value: Any) -> str | None:
        """Return the path of an object, a new one unless it is known; None where it is opaque."""
        identity = identity_of(value)
        found = self._paths.get(identity)
        if found is not None:
            return found
        kind = self._kind(value)
        if kind is None or identity in self._closed:
            return None
        before = self._known.path_of(value) if self._known is not None else None
        if before is not None and before not in self.nodes:
            path = before
        else:
            if len(self.nodes) >= MOST:
                self.left_out.append(path)
                return None
            if self._known is not None:
                path = f"+{path.removeprefix('+')}"
            while path in self.nodes:
                path += "~"
        node = Node(path, kind, value)
        self.nodes[path] = node
        self._paths[identity] = path
        self._queue.append(node)
        return path

    def _kind(self, value: Any) -> Kind | None:
        type_ = type(value)
        if type_ in _SIMPLE:
            if type_ in (list, dict) and leaves.is_large_plain(value):
                return leaves.PLAIN
            return _SIMPLE[type_]
        if type_ is types.FunctionType:
            return kinds.FUNCTION if own_code.is_own_function(own_code.unwrapped(value)) else None
        if type_ is np.ndarray:
            return None if value.dtype.hasobject else leaves.ARRAY
        if type_ is types.BuiltinMethodType:  # e.g. losses.append; len and the like have a module
            return kinds.BOUND if isinstance(value.__self__, list | dict | set) else None
        chosen = self._classify(value)
        if chosen is not None:
            return None if chosen is OPAQUE else chosen
        # by the type itself: a proxy's ``__class__`` is that of what it stands for
        for base, kind in _DERIVED:
            if issubclass(type_, base):
                return kind
        if issubclass(type_, type):
            return kinds.CLASS if own_code.is_own_class(value) else None
        if issubclass(type_, _NO_OBJECTS) or own_code.is_descriptor(value):
            return None
        return kinds.OBJECT if _is_followed(type_, value) else None

    def _meet(self, value: Any) -> None:
        """Record the class of an enumeration's member or of a named tuple, and of those in it."""
        if not isinstance(value, _NAMED):
            return
        if type(value) is not tuple:
            kind = value if isinstance(value, type) else type(value)
            self.classes.setdefault(type_name(kind), kind)
        if isinstance(value, tuple):
            for item in tuple.__iter__(value):
                self._meet(item)

    def _name_globals(self, code: types.CodeType, namespace: dict[str, Any]) -> None:
        for name, stores in own_code.global_names(code):
            if stores or name in namespace:
                self._name(namespace, name)
        self._name_modules(code, namespace)

    def _name_modules(self, code: types.CodeType, namespace: dict[str, Any]) -> None:
        names = own_code.all_names(code)
        for name in sorted(names):
            # `config.count`, and `import config` within the function
            for value in (namespace.get(name), sys.modules.get(name)):
                module = own_code.own_module(value)
                if module is not None:
                    self._name_module(module, names)

    def _name(self, namespace: dict[str, Any], name: str) -> None:
        self._globals.setdefault(identity_of(namespace), Globals(namespace)).names[name] = None

    def _name_module(self, module: types.ModuleType, names: frozenset[str]) -> None:
        """Follow what a function names of a module of the job, and of modules in it."""
        namespace = vars(module)
        for name in sorted(names & namespace.keys()):
            if name in self._names_of(namespace):
                continue
            self._name(namespace, name)
            inner = own_code.own_module(namespace[name])
            if inner is not None:
                self._name_module(inner, names)

    def _names_of(self, namespace: dict[str, Any]) -> Iterable[str]:
        found = self._globals.get(identity_of(namespace))
        return found.names if found is not None else ()


_SIMPLE: Final[dict[type, Kind]] = {
    list: kinds.LIST,
    dict: kinds.DICT,
    set: kinds.SET,
    collections.OrderedDict: kinds.DICT,
    collections.defaultdict: kinds.DICT,
    collections.Counter: kinds.DICT,
    collections.deque: kinds.DEQUE,
    types.MethodType: kinds.BOUND,
    functools.partial: kinds.BOUND,
    random.Random: leaves.RANDOM,
    np.random.Generator: leaves.RANDOM,
    np.random.RandomState: leaves.RANDOM,
    Frame: FRAME,
}
_DERIVED: Final[tuple[tuple[type, Kind], ...]] = (
    (list, kinds.LIST),
    (dict, kinds.DICT),
    (set, kinds.SET),
)


def _is_followed(kind: type, value: Any) -> bool:
    """Return whether the attributes of an object are followed."""
    if own_code.is_own_class(kind):
        return True
    if type_name(kind) in _WALKED or own_code.own_classes(value):
        return True
    top = kind.__module__.partition(".")[0]
    if top in _CLOSED_NAMES or own_code.is_standard_library(top):
        return False
    return bool(kinds.attributes(value))


def _copied(kind: Kind, value: Any) -> Iterable[Slot]:
    """List the bindings of an object that another thread may be changing."""
    for _ in range(16):
        try:
            return list(kind.slots(value))
        except RuntimeError:  # it changed its size meanwhile
            continue
    return []

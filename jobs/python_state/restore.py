"""Restore Python state in place: three values of each binding decide.

A binding that the script set, at the entry of the stage, to what it was in the attempt that
saved gets what training made of it. One that the script set to something else is left alone.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

from rekindle.jobs.capture.codec import Tensors
from rekindle.jobs.object_kinds import kinds, leaves, values
from rekindle.jobs.object_kinds.kinds import Kind, Leaf
from rekindle.jobs.object_kinds.values import Expr, Unresolvable
from rekindle.jobs.python_state.findings import Findings
from rekindle.jobs.python_state.reach import Node, Reach
from rekindle.jobs.python_state.saved import PythonRecords, Record, is_inside, new_object

_KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        kinds.LIST,
        kinds.DEQUE,
        kinds.SET,
        kinds.DICT,
        leaves.ARRAY,
        leaves.RANDOM,
        leaves.PLAIN,
    )
}
"""Kinds of Python and numpy, by name; others are chosen by the object itself."""

_ERRORS: Final = (Unresolvable, ValueError, KeyError, TypeError, AttributeError)


class Restorer:
    """Restore one checkpoint into the objects of this attempt.

    Args:
        entry: the objects as of the entry of the stage in this attempt.
        walk: walks again from the roots; ``more``: further kinds by name.

    Attributes:
        found: what could not be restored.
    """

    def __init__(
        self,
        entry: Reach,
        walk: Callable[[], Reach],
        saved: PythonRecords,
        arrays: Tensors,
        more: dict[str, Kind],
    ) -> None:
        self._entry = entry
        self._walk = walk
        self._begun = saved["begun"]
        self._changed = saved["changed"]
        self._own = saved.get("own", [])
        self._arrays = arrays
        self._kinds = {**_KINDS, **more}
        self._made: dict[str, Any] = {}
        self._made_kinds: dict[str, Kind] = {}
        self._unchanged: Reach | None = None
        self.found = Findings()

    def restore(self) -> None:
        """Restore every object; may be called again."""
        for _ in range(2):
            self._written: set[str] = set()
            now = self._walk()
            self._find_made(now)
            for path, kind in self._made_kinds.items():
                self._restore_made(path, kind, now.nodes.get(path))
            for path, node in _iterators_first(self._entry.nodes, self._own):
                record, current = self._changed.get(path), now.nodes.get(path)
                if isinstance(node.kind, Leaf) or node.kind.whole:
                    self._restore_whole(path, node, record, current)
                else:
                    self._restore_bindings(path, node, record, current)
            self._unchanged = None if self._written else now
            # a second time: a layer's `trainable` sets that of all layers in it, too
            if "keras" not in self._written:
                return

    def wrong(self) -> list[str]:
        """List the paths that hold another value than the checkpoint says, after a restore."""
        now, found = self._unchanged or self._walk(), []
        for path, node in now.nodes.items():
            before, record = self._entry.nodes.get(path), self._changed.get(path)
            is_same = record is None and (before is None or _is_unchanged(before, node))
            if is_same or is_inside(path, self._own):
                continue
            if isinstance(node.kind, Leaf) or node.kind.whole:
                wanted = record["digest"] if record is not None else _digests(before)
                if self._is_same(path, before) and wanted != node.digests():
                    found.append(values.readable(path))
                continue
            digests, theirs = node.digests(), record["digest"] if record else _digests(before)
            for label, digest in digests.items() if isinstance(theirs, dict) else ():
                if node.kind.partial and (
                    label not in theirs or not node.kind.is_open(node.value, label)
                ):
                    continue
                if self._is_same(path, before, label) and theirs.get(label) != digest:
                    found.append(values.readable(path, label))
        return found

    # objects that did not exist at the entry

    def _find_made(self, now: Reach) -> None:
        """Find each among what the script has made again, or make it."""
        for path, record in self._changed.items():
            if path in self._entry.nodes:
                continue
            node = now.nodes.get(path)
            if node is not None and (node.kind.name, node.type) == (record["kind"], record["type"]):
                if self._made.get(path) is not node.value:
                    self._adopt(path, node.kind, node.value)
            elif path not in self._made:
                self._make(path, record)

    def _make(self, path: str, record: Record) -> None:
        """Make a new object, if its kind can be made."""
        if record["kind"] == kinds.OBJECT.name:
            made = new_object(record, self._entry.classes)
            if made is not None:
                self._adopt(path, kinds.OBJECT, made)
            return
        kind = self._kinds.get(record["kind"])
        if kind is None or not kind.made:
            return
        content, type_ = record["content"], record["type"]
        try:
            made = kind.new(content, self._arrays) if isinstance(kind, Leaf) else kind.make(type_)
        except _ERRORS:
            self.found.miss(values.readable(path))
        else:
            self._adopt(path, kind, made)

    def _adopt(self, path: str, kind: Kind, value: Any) -> None:
        self._written.add("new")
        self._made[path] = value
        self._made_kinds[path] = kind
        self._entry.adopt(path, value)

    def _restore_made(self, path: str, kind: Kind, current: Node | None) -> None:
        record = self._changed[path]
        if current is not None and current.digests() == record["digest"]:
            return
        if isinstance(kind, Leaf):
            if current is not None:
                self._put_leaf(path, kind, self._made[path], record)
        elif kind.whole or isinstance(kind, kinds.DictKind):
            self._fill(path, kind, self._made[path], record["content"])
        else:
            wanted = {label: expr for label, _, expr in record["content"]}
            keys = current.keys if current is not None else {}
            for label in wanted:
                if not kind.is_open(self._made[path], label):
                    continue
                key = keys.get(label, kind.key_of(self._made[path], label, None))
                self._bind(path, kind, self._made[path], label, key, wanted)

    def _find(self, path: str) -> Any:
        return self._made[path] if path in self._made else self._entry.at(path)

    def _resolve(self, expr: Expr) -> Any:
        return values.resolve(expr, self._find, self._entry.classes)

    # objects of this attempt

    def _restore_whole(
        self, path: str, node: Node, record: Record | None, current: Node | None
    ) -> None:
        if record is None and path in self._begun and not self._is_same(path, node):
            if isinstance(node.kind, Leaf) and node.kind.name in ("array", "variable", "tensor"):
                self.found.others[node.kind.name, values.readable(path)] = None
            return
        wanted = record["digest"] if record is not None else node.digests()
        if current is not None and current.digests() == wanted:
            return
        if not self._is_same(path, node):
            if record is not None:
                self.found.differing[values.readable(path)] = None
        elif record is not None:
            self._apply(path, node, record)
        elif isinstance(node.kind, Leaf):
            if current is not None:
                self.found.miss(values.readable(path))
        else:
            self._fill(path, node.kind, node.value, node.content)

    def _apply(self, path: str, node: Node, record: Record) -> None:
        kind = self._kinds.get(record["kind"], node.kind)
        if not isinstance(kind, Leaf):
            self._fill(path, kind, node.value, record["content"])
        else:
            self._put_leaf(path, kind, node.value, record)

    def _put_leaf(self, path: str, kind: Leaf, value: Any, record: Record) -> None:
        self._written.add(kind.name)
        try:
            kind.into(value, record["content"], self._arrays)
        except _ERRORS:
            self.found.miss(values.readable(path), is_iterator=kind.is_iterator)

    def _restore_bindings(
        self, path: str, node: Node, record: Record | None, current: Node | None
    ) -> None:
        begun = self._begun.get(path, {})
        if record is not None and record["kind"] != node.kind.name:  # it became large
            if begun == node.digests():
                self._apply(path, node, record)
            else:
                self.found.differing[values.readable(path)] = None
            return
        content = record["content"] if record is not None else node.content
        now = current.content if current is not None else []
        if content == now:
            return
        wanted = {label: expr for label, _, expr in content}
        here = {label: expr for label, _, expr in now}
        known = [label for label, _, _ in node.content]
        labels = dict.fromkeys([*wanted, *known, *here, *begun])
        same = {label: self._is_same(path, node, label) for label in labels}
        if isinstance(node.kind, kinds.DictKind) and all(same.values()):
            self._fill(path, node.kind, node.value, content)
            return
        keys = {**node.keys, **(current.keys if current is not None else {})}
        for label, key, _ in content:
            if label not in keys:
                keys[label] = node.kind.key_of(node.value, label, self._resolve(key))
        for label in labels:
            absent = label not in wanted
            if (absent and node.kind.partial) or not node.kind.is_open(node.value, label):
                continue
            if absent == (label not in here) and wanted.get(label) == here.get(label):
                continue
            if same[label]:
                self._bind(path, node.kind, node.value, label, keys[label], wanted)
            elif record is not None:
                digest = None if absent else values.digest(wanted[label])
                if digest != begun.get(label) and not values.is_clock_reading(here.get(label)):
                    self.found.differing[values.readable(path, label)] = None

    def _bind(
        self, path: str, kind: Kind, value: Any, label: str, key: Any, wanted: dict[str, Expr]
    ) -> None:
        self._written.add(kind.name)
        if label not in wanted:
            kind.remove(value, key)
            return
        try:
            kind.put(value, key, self._resolve(wanted[label]))
        except _ERRORS:
            self._miss(path, label, wanted[label])

    def _miss(self, path: str, label: str, expr: Expr) -> None:
        """Name what cannot be restored, unless the checkpoint names it or it is a function."""
        refs = values.references(expr)
        absent = {str(self._changed.get(ref, {}).get("kind", "")) for ref in refs}
        if any(kind.startswith("iterator") for kind in absent):
            self.found.made_later[values.readable(path, label)] = refs
        elif not values.opaque(expr) and absent.isdisjoint(("function", "bound", "class")):
            self.found.miss(values.readable(path, label))

    def _fill(self, path: str, kind: Kind, value: Any, content: list[Any]) -> None:
        self._written.add(kind.name)
        items = []
        for label, key, expr in content:
            try:
                items.append((self._resolve(key), self._resolve(expr)))
            except _ERRORS:
                self._miss(path, label, expr)
        kind.fill(value, items)

    def _is_same(self, path: str, node: Node | None, label: str | None = None) -> bool:
        """Return whether the script made the same of a binding as in the attempt that saved."""
        if node is None:
            return True
        here, begun = node.digests(), self._begun.get(path, {} if label is not None else None)
        if label is None or not isinstance(here, dict) or not isinstance(begun, dict):
            return bool(here == begun)
        return bool(here.get(label) == begun.get(label))


def _is_unchanged(before: Node, node: Node) -> bool:
    """Return whether two readings of an object are the same, without a digest of each binding."""
    return (
        before.kind is node.kind
        and not isinstance(node.kind, Leaf)
        # by their text: True equals 1
        and repr(before.content) == repr(node.content)
    )


def _digests(node: Node | None) -> Any:
    return node.digests() if node is not None else None


def _iterators_first(nodes: dict[str, Node], left: Collection[str]) -> list[tuple[str, Node]]:
    """Order nodes: reading an iterator again may draw from what is restored after it.

    Args:
        left: paths of objects that are left out.
    """

    def comes_later(item: tuple[str, Node]) -> bool:
        kind = item[1].kind
        return not (isinstance(kind, Leaf) and kind.is_iterator)

    return sorted((item for item in nodes.items() if not is_inside(item[0], left)), key=comes_later)

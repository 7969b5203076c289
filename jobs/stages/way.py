"""Way of calls from the script to a stage: lines, and the turns of the loops around them.

It tells two trainings of the same content apart, e.g. the members of an ensemble, of which a
relaunch skips those whose files exist.
"""

import argparse
import ast
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import linecache
import os
import sys
import types
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, Final

import numpy as np

from rekindle.jobs import code_origin
from rekindle.jobs.stages.data_digest import DataDigest
from rekindle.jobs.stages.key import Way
from rekindle.jobs.stages.stable_text import stable_text

_MOST_FRAMES: Final = 12
_MOST_TEXT: Final = 120
_OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_RUNS_SCRIPT: Final = os.path.join(_OURS, "trainer", "script.py")
_OPTIMIZERS: Final = ("keras.src.optimizers", "tf_keras.src.optimizers")
_PASSED: Final = ("keras", "tensorflow", "tf_keras")
"""Libraries whose own frames lie between a script and each stage."""
_TAKING: Final = frozenset({"pop", "popleft", "get_nowait"})


def here() -> Way:
    """Return the way to the present call of ``fit`` or beginning of a loop."""
    frames = _frames()
    lines: list[str] = []
    turns: list[str] = []
    given: list[str] = []
    columns: list[str] = []
    known = bool(frames)
    own = [frame for frame in frames if frame is not None]
    repeats = len({frame.f_code for frame in own}) < len(own)  # a function that calls itself
    for frame in frames:
        if frame is None:
            known = False
            continue
        code = frame.f_code
        lines.append(f"{os.path.basename(code.co_filename)}:{frame.f_lineno} {code.co_name}")
        columns.append(_column(code, frame.f_lasti))
        for loop in _loops_around(code, frame.f_lineno):
            values = {name: _value(frame, name) for name in (*loop.names, *loop.taken)}
            # data that a loop takes is compared with the data of the stage
            names = [*loop.names, *(name for name in loop.taken if _is_plain(values[name]))]
            found = [(name, _text(values[name], objects=True)) for name in names]
            known = known and all(text is not None for _, text in found)
            turns += [f"{name} = {text}" for name, text in found]
            repeats = repeats or not found
        if code.co_name != "<module>":
            for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
                text = _text(frame.f_locals.get(name))
                if text is not None:
                    given.append(f"{name} = {text}")
    # a digest: a parameter may be a secret
    return Way(
        tuple(lines),
        tuple(turns),
        _digest("\n".join(given)) if given else "",
        known,
        tuple(columns) if all(columns) else (),
        _digest("\n".join(sorted({_source_digest(one.f_code.co_filename) for one in own}))),
        repeats,
    )


@functools.lru_cache(maxsize=64)
def _source_digest(file: str) -> str:
    return _digest("".join(linecache.getlines(file)))


def _column(code: CodeType, instruction: int) -> str:
    """Return where in its line a call stands; empty before Python 3.11, which does not tell."""
    positions = getattr(code, "co_positions", None)
    if positions is None or instruction < 0:
        return ""
    found = next(itertools.islice(positions(), instruction // 2, None), (None,) * 4)
    first, last = found[2:]
    return f"{first}-{last}" if first is not None and last is not None else ""


def _frames() -> list[FrameType | None]:
    """List the frames of the job's code from the script on; None for code of a library."""
    found: list[FrameType | None] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < _MOST_FRAMES:
        file = frame.f_code.co_filename
        if file == _RUNS_SCRIPT:
            break
        if not file.startswith(_OURS) and not file.startswith("<frozen "):
            if code_origin.is_library(file):
                if not _is_passed(file) and (not found or found[-1] is not None):
                    found.append(None)
            else:
                found.append(frame)
        frame = frame.f_back
    while found and found[-1] is None:
        found.pop()  # runpy, or a test, that runs the script
    return found[::-1]


def _is_passed(file: str) -> bool:
    return any(f"{os.sep}{name}{os.sep}" in file for name in _PASSED) or file.endswith(
        ("functools.py", "contextlib.py")
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Loop:
    """Hold a loop of a file.

    Attributes:
        first: line.
        last: line.
        names: variables that the loop counts with.
        taken: variables of a ``while`` loop that take the next of a queue.
    """

    first: int
    last: int
    names: tuple[str, ...]
    taken: tuple[str, ...] = ()


def _loops_around(code: CodeType, line: int) -> Iterator[_Loop]:
    """List the loops of a function that contain a line, with the variables of the function."""

    def own(names: tuple[str, ...]) -> tuple[str, ...]:
        held = (code.co_varnames, code.co_names, code.co_cellvars)
        return tuple(name for name in names if any(name in some for some in held))

    for loop in _loops(code.co_filename):
        if loop.first <= line <= loop.last and loop.first >= code.co_firstlineno:
            names, taken = own(loop.names), own(loop.taken)
            if names or taken or not (loop.names or loop.taken):
                yield dataclasses.replace(loop, names=names, taken=taken)


def _value(frame: FrameType, name: str) -> Any:
    return frame.f_locals.get(name, frame.f_globals.get(name))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | str | os.PathLike)


@functools.lru_cache(maxsize=64)
def _loops(file: str) -> list[_Loop]:
    """List the loops of a file."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        names: Iterable[str] = ()
        taken: Iterable[str] = ()
        if isinstance(node, ast.For | ast.AsyncFor):
            names = _names(node.target)
        elif isinstance(node, ast.While):
            # a counter that the loop itself increments
            parts = list(ast.walk(node))
            counters = [part.target for part in parts if isinstance(part, ast.AugAssign)]
            names = [name for target in counters for name in _names(target)]
            taken = [name for part in parts for name in _taken(part) if name not in names]
        elif isinstance(node, ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp):
            names = [name for one in node.generators for name in _names(one.target)]
        else:
            continue
        found.append(_Loop(node.lineno, node.end_lineno or node.lineno, tuple(names), tuple(taken)))
    return sorted(found, key=lambda loop: (loop.first, loop.last, loop.names))


def _taken(node: ast.AST) -> Iterator[str]:
    """Name the variables to which a statement assigns the next of a queue or an iterator."""
    if not isinstance(node, ast.Assign | ast.NamedExpr) or not isinstance(node.value, ast.Call):
        return
    called, arguments = node.value.func, node.value.args or node.value.keywords
    takes = (isinstance(called, ast.Name) and called.id == "next") or (
        isinstance(called, ast.Attribute)
        and (called.attr in _TAKING or (called.attr == "get" and not arguments))
    )
    if takes:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from _names(target)


def _names(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _text(value: Any, depth: int = 0, *, objects: bool = False) -> str | None:
    """Return a value as text that is the same in every process; None for others.

    Args:
        objects: also of objects, as loops have them. A parameter may hold all settings of a job,
            of which a relaunch may have others.
    """
    if value is None or isinstance(value, bool | int):
        return repr(value)
    if isinstance(value, float):
        return None if _is_large(value) else repr(value)
    if isinstance(value, str | os.PathLike):
        return stable_text(os.fspath(value))[:_MOST_TEXT]
    if isinstance(value, np.ndarray | np.generic):
        digest = DataDigest()
        digest.array(np.asarray(value))
        return digest.key().exact
    if isinstance(value, list | tuple | dict) and depth < 5 and len(value) <= 64:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = [(str(name), _text(one, depth + 1, objects=objects)) for name, one in items]
        if any(text is None for _, text in parts):
            return None
        joined = f"{type(value).__name__} {parts}"
        return joined if len(joined) <= _MOST_TEXT else _digest(joined)
    return _object_text(value, depth) if objects else None


def _object_text(value: Any, depth: int) -> str | None:
    """Return an object of a loop as text: a function, a class, an optimizer, a plain record."""
    if isinstance(value, types.FunctionType):
        return f"{value.__qualname__} in line {value.__code__.co_firstlineno}"
    if isinstance(value, type):
        return value.__qualname__
    fields = None
    if any(base.__module__.startswith(_OPTIMIZERS) for base in type(value).__mro__):
        with contextlib.suppress(Exception):
            config = value.get_config()
            fields = {name: config[name] for name in config if name != "name"}
    elif dataclasses.is_dataclass(value) or isinstance(
        value, types.SimpleNamespace | argparse.Namespace
    ):
        fields = dict(getattr(value, "__dict__", {}))
    text = _text(fields, depth + 1, objects=True) if fields else None
    return f"{type(value).__name__} {text}" if text is not None else None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _is_large(value: float) -> bool:
    """Return whether a number may be a reading of the clock."""
    return abs(value) > 1e6

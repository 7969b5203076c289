"""Find the variables that code may still read at an instruction, before it sets them again.

All others are no state: the next iteration of a loop sets them before anything reads them.
"""

import dis
import functools
import inspect
import itertools
import types
from collections.abc import Iterator
from typing import Any, Final

from rekindle.jobs.bytecode import own_code

_LOADS: Final = ("LOAD_FAST", "LOAD_NAME", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_CL", "LOAD_FROM")
_STORES: Final = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF", "DELETE_")
_NOT_VARIABLES: Final = ("DELETE_ATTR", "DELETE_SUBSCR")
_NO_NEXT: Final = frozenset(
    {
        *("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD"),
        *("JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "INTERPRETER_EXIT"),
    }
)
_JUMPS: Final = frozenset({*dis.hasjrel, *dis.hasjabs})
_HANDLED: Final = frozenset({"SETUP_FINALLY", "SETUP_WITH", "SETUP_ASYNC_WITH"})  # Python 3.10


class Flow:
    """Hold where each instruction of a code leads, and what is read after it.

    Args:
        code: of a function or module.
    """

    def __init__(self, code: types.CodeType) -> None:
        self._steps = list(dis.get_instructions(code))
        self._at = {step.offset: index for index, step in enumerate(self._steps)}
        handlers = {self._at[s.argval] for s in self._steps if s.opname in _HANDLED}
        # which instructions a handler covers differs between versions of Python: each may fail
        self._handlers = handlers | {
            index for index, step in enumerate(self._steps) if step.opname == "PUSH_EXC_INFO"
        }
        nested = not code.co_flags & inspect.CO_OPTIMIZED
        self._uses = [frozenset(_used(step, nested=nested)) for step in self._steps]
        self._sets = [frozenset(_set(step)) for step in self._steps]
        # a closure may read these at any time
        self._always = frozenset({*code.co_cellvars, *code.co_freevars})
        count = len(self._steps)
        self._following = [set(self._next(index)) for index in range(count)]
        self._preceding: list[set[int]] = [set() for _ in range(count)]
        for index, others in enumerate(self._following):
            for other in others:
                self._preceding[other].add(index)
        self._live: list[frozenset[str]] = self._solve()

    @property
    def shows_variables(self) -> bool:
        """True if the code calls ``locals()`` or ``vars()``, whose result it may hold."""
        return any(
            step.argval in ("locals", "vars")
            and step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            and following.opname.startswith(("CALL", "PRECALL"))
            and not following.arg
            for step, following in itertools.pairwise(self._steps)
        )

    def read_after(self, last: int) -> frozenset[str]:
        """Return the variables that are read after the instruction at an offset."""
        return self._live[self._index(last)] | self._always

    def in_loop(self, last: int) -> frozenset[str] | None:
        """Return the variables that the loop at an offset mentions; None if there is none."""
        index = self._index(last)
        if self._steps[index].opname != "FOR_ITER":
            return None
        return frozenset().union(
            *(self._uses[inside] | self._sets[inside] for inside in self._body(index))
        )

    def set_again(self, last: int) -> frozenset[str]:
        """Return the variables that are set between an instruction and its next run."""
        index = self._index(last)
        ahead, back = self._walk(index, self._following), self._walk(index, self._preceding)
        return self._always.union(*(self._sets[inside] for inside in ahead & back))

    def _index(self, last: int) -> int:
        return max((i for i, s in enumerate(self._steps) if s.offset <= last), default=0)

    @staticmethod
    def _walk(start: int, edges: list[set[int]]) -> set[int]:
        found: set[int] = set()
        todo = [start]
        while todo:
            for index in edges[todo.pop()] - found:
                found.add(index)
                todo.append(index)
        return found

    def _body(self, head: int) -> set[int]:
        """Return the instructions of a loop, and what may follow a ``break``."""
        end = self._at[self._steps[head].argval]
        found: set[int] = set()
        todo = [head + 1]
        while todo:
            index = todo.pop()
            if index not in found and index not in (head, end) and index < len(self._steps):
                found.add(index)
                todo += [*self._following[index], *self._handlers]
        return found

    def _next(self, index: int) -> Iterator[int]:
        step = self._steps[index]
        if step.opname not in _NO_NEXT and index + 1 < len(self._steps):
            yield index + 1
        if step.opcode in _JUMPS:
            yield self._at[step.argval]

    def _solve(self) -> list[frozenset[str]]:
        count = len(self._steps)
        before: list[frozenset[str]] = [frozenset()] * count
        after: list[frozenset[str]] = [frozenset()] * count
        changed = True
        while changed:
            changed = False
            failing = frozenset().union(*(before[index] for index in self._handlers))
            for index in reversed(range(count)):
                out = failing.union(*(before[other] for other in self._following[index]))
                into = (out - self._sets[index]) | self._uses[index]
                if out != after[index] or into != before[index]:
                    after[index], before[index], changed = out, into, True
        return after


@functools.lru_cache(maxsize=64)
def flow_of(code: types.CodeType) -> Flow:
    return Flow(code)


def _used(step: dis.Instruction, *, nested: bool) -> Iterator[str]:
    """Yield the variables that an instruction reads.

    Args:
        nested: functions within the code see its variables as globals.
    """
    if step.opname.startswith("LOAD_CONST"):
        if nested and isinstance(step.argval, types.CodeType):
            yield from (name for name, _ in own_code.global_names(step.argval))
        return
    yield from _named(step, _LOADS)


def _set(step: dis.Instruction) -> Iterator[str]:
    if step.opname not in _NOT_VARIABLES:
        yield from _named(step, _STORES)


def _named(step: dis.Instruction, beginnings: tuple[str, ...]) -> Iterator[str]:
    """Yield the variables of an instruction, which may be two in one since Python 3.13."""
    names: Any = step.argval
    if isinstance(names, tuple):
        parts = step.opname.split("_FAST")
        for part, name in zip(parts, names, strict=False):
            if f"{part.strip('_')}_FAST".startswith(beginnings):
                yield name
    elif isinstance(names, str) and step.opname.startswith(beginnings):
        yield names

"""Notice that the script uses variables: reads or assigns one, or calls what may have captured one.

All that Python and TensorFlow's own C++ code do with a variable goes through its attribute
``_handle``. A function or a pipeline that has captured the handle does not: so a call of any
function, and the iteration of any dataset, is a use; and so is a fork, since nothing is noticed in
a child.
"""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, Final

_HANDLE: Final = "_handle"


class VariableUses:
    """Notice the first use of any variable, by any thread, while it is watched for."""

    def __init__(self) -> None:
        self._noticed: Callable[[], None] | None = None
        self._undo: list[Callable[[], None]] = []
        self._lock = threading.RLock()
        os.register_at_fork(before=self._use)

    def watch(self, noticed: Callable[[], None]) -> bool:
        """Call ``noticed`` at the next use, before it; return False where none can be noticed.

        Each use has to be noticed: where this TensorFlow has another form, none is watched for.
        """
        self.stop()
        try:
            places = _places()
        except (ImportError, AttributeError, KeyError):
            return False
        variable, calls = places
        if _HANDLE in variable.__dict__:
            return False
        with self._lock:
            self._noticed = noticed
            setattr(variable, _HANDLE, _Handle(self._use))
            self._undo.append(lambda: delattr(variable, _HANDLE))
            for owner, name in calls:
                self._undo.append(_replace(owner, name, self._use))
        return True

    def stop(self) -> None:
        """Watch no longer."""
        with self._lock:
            self._noticed = None
            while self._undo:
                self._undo.pop()()

    def _use(self) -> None:
        with self._lock:
            noticed = self._noticed
            self.stop()
        if noticed is not None:
            noticed()


class _Handle:
    """Attribute of variables that says when it is read; its value stays in the variable."""

    def __init__(self, use: Callable[[], None]) -> None:
        self._use = use

    def __get__(self, variable: Any, owner: Any = None) -> Any:
        if variable is None:
            return self
        self._use()
        try:
            return variable.__dict__[_HANDLE]
        except KeyError:
            raise AttributeError(_HANDLE) from None

    def __set__(self, variable: Any, value: Any) -> None:
        variable.__dict__[_HANDLE] = value


def _replace(owner: type, name: str, use: Callable[[], None]) -> Callable[[], None]:
    """Let a method call ``use`` first; return a function that undoes it."""
    plain = owner.__dict__[name]

    @functools.wraps(plain)
    def watched(*args: Any, **kwargs: Any) -> Any:
        use()
        return plain(*args, **kwargs)

    setattr(owner, name, watched)

    def undo() -> None:
        if owner.__dict__.get(name) is watched:  # else another has replaced it since
            setattr(owner, name, plain)

    return undo


@functools.cache
def _places() -> tuple[type, tuple[tuple[type, str], ...]]:
    """Return the class of all variables, and the methods that run what has captured some.

    Raises:
        ImportError, AttributeError, KeyError: this TensorFlow has another form.
    """
    import tensorflow as tf
    from tensorflow.python.data.ops import iterator_ops
    from tensorflow.python.eager.polymorphic_function import concrete_function
    from tensorflow.python.eager.polymorphic_function import polymorphic_function as functions
    from tensorflow.python.ops import resource_variable_ops

    dataset: Any = tf.data.Dataset
    calls: tuple[tuple[type, str], ...] = (
        (functions.Function, "__call__"),
        (concrete_function.ConcreteFunction, "__call__"),
        (concrete_function.ConcreteFunction, "_call_flat"),
        (iterator_ops.OwnedIterator, "__init__"),
        (iterator_ops.OwnedIterator, "_next_internal"),
        (dataset, "reduce"),
        (dataset, "get_single_element"),
        (dataset, "save"),
    )
    for owner, name in calls:
        owner.__dict__[name]
    return resource_variable_ops.BaseResourceVariable, calls

"""Bind a variable of a function that runs, as a debugger does."""

import ctypes
import inspect
import types
from typing import Any


def bind(frame: types.FrameType, name: str, value: Any) -> None:
    """Bind a variable of a frame."""
    held: Any = frame.f_locals
    held[name] = value
    if frame.f_code.co_flags & inspect.CO_OPTIMIZED and type(held) is dict:
        # before Python 3.13 it is a copy, which is put back in this way
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))

"""Check that a script only imports and defines, up to a place in its code."""

import dis
import types
from typing import Final

_PLAIN: Final = frozenset(
    {
        "CACHE",
        "COPY",
        "EXTENDED_ARG",
        "IMPORT_FROM",
        "IMPORT_NAME",
        "IMPORT_STAR",
        "LOAD_CONST",
        "LOAD_SMALL_INT",
        "MAKE_FUNCTION",
        "NOP",
        "NOT_TAKEN",
        "POP_TOP",
        "PUSH_NULL",
        "RESUME",
        "ROT_TWO",
        "SET_FUNCTION_ATTRIBUTE",
        "SETUP_ANNOTATIONS",
        "STORE_NAME",
        "SWAP",
    }
)
"""Instructions that set nothing but names of the script, in any version of Python."""
_STAR: Final = "INTRINSIC_IMPORT_STAR"


def is_plain(code: types.CodeType, offset: int) -> bool:
    """Return whether a module's code up to a byte offset consists of imports and definitions.

    Such code is run in one order only, and changes nothing that a later import could read.
    """
    for one in dis.get_instructions(code):
        if one.offset >= offset:
            return True
        if one.opname not in _PLAIN and _STAR not in one.argrepr:
            return False
    return False

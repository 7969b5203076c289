"""Digests of functions by their syntax: the same in every version of Python.

Comments, docstrings and warnings do not count: they change in most releases, and nothing rests on
them.
"""

import ast
import hashlib
import inspect
import textwrap
from typing import Any, Final

_LENGTH: Final = 12
_SKIPPED: Final = frozenset({"ctx", "kind", "type_comment", "type_params", "returns", "annotation"})
"""Fields that say nothing about what a function does, or that only some versions of Python have."""


def of(function: Any) -> str:
    """Digest the syntax of a function, method or property; empty if its source is missing.

    Raises:
        SyntaxError: the source cannot be parsed by this Python.
    """
    function = inspect.unwrap(getattr(function, "fget", function))
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return ""
    return of_source(source)


def of_source(source: str) -> str:
    """Digest the syntax of a definition, given as text of any indentation."""
    node = ast.parse(textwrap.dedent(source)).body[0]
    return hashlib.sha256(_text(node).encode()).hexdigest()[:_LENGTH]


def _text(node: Any) -> str:
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED or value is None or value == []:
            continue
        kept = value
        if name == "body" and isinstance(value, list):
            kept = [one for one in value if not _is_text_only(one)]
        elif name == "values" and isinstance(node, ast.JoinedStr):
            # Python 3.12 has an empty text behind a nested format
            kept = [one for one in value if getattr(one, "value", None) != ""]
        fields.append(f"{name}={_text(kept)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_text_only(statement: ast.AST) -> bool:
    """Return whether a statement is a docstring or a call of ``warnings.warn``."""
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    if isinstance(value, ast.Constant):
        return isinstance(value.value, str)
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "warnings.warn"

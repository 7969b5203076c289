"""Write a spec as TOML."""

import json
from collections.abc import Mapping
from typing import Any, Final

from rekindle.daemon.spec.job_fields import SPEC
from rekindle.state.errors import SpecError

_SECTIONS: Final = frozenset(section.name for section in SPEC.sections)


def dumps(values: Mapping[str, Any]) -> str:
    """Write the table of a spec: its keys first, then the sections that are not empty.

    Raises:
        SpecError: a text has half of a surrogate pair, such as a byte of a path that is not UTF-8.
    """
    sections = {
        key: one for key, one in values.items() if key in _SECTIONS and isinstance(one, Mapping)
    }
    lines = [f"{_key(key)} = {_value(one)}" for key, one in values.items() if key not in sections]
    for key, one in sections.items():
        if one:
            lines += ["", f"[{key}]"]
            lines += [f"{_key(name)} = {_value(inner)}" for name, inner in one.items()]
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpecError(
            f"A spec is UTF-8, and {error.object[error.start : error.end]!a} is not.",
            hint="Rename the file or folder.",
        ) from None
    return text


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if plain else text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(str(key))} = {_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return str(value)


def text(value: str) -> str:
    """Quote a text."""
    # what JSON writes as it is and TOML does not allow
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

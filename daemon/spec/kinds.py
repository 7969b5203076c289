"""Define the kinds of values that a key may have: how each is read, and its JSON schema."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rekindle.jobs import quantities


class Wrong(Exception):
    """A value that its key cannot have; both texts follow the key's name in a message."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    Attributes:
        read: gives the value in the form the program uses; raises :class:`Wrong`.
        schema: JSON schema of what is accepted, no narrower than `read`.
        words: what is accepted, for people; empty where the schema says it in words that are
            as short.
    """

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    words: str = ""


def read_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise Wrong(f"must be a text, not {shown(value)}", "Write it in quotes.")
    return value


def read_texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise Wrong(
            "must be a list of texts", 'Write numbers in quotes too: args = ["--epochs", "5"].'
        )
    if any("\0" in item for item in value):
        raise Wrong("has a NUL character", "Remove it.")
    return list(value)


def _read_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong(
            f"must be true or false, not {shown(value)}", "Write true or false, without quotes."
        )
    return value


def _read_umask(value: Any) -> int:
    if not isinstance(value, str) or not re.fullmatch("0?[0-7]{3}", value):
        raise Wrong(
            f"must be three octal digits in quotes, not {shown(value)}",
            'For example "002": the group may change what the job writes.',
        )
    return int(value, 8)


UMASK: Final = Kind(
    _read_umask, {"type": "string", "pattern": "^0?[0-7]{3}$"}, "three octal digits in quotes"
)
TEXT: Final = Kind(read_text, {"type": "string", "minLength": 1})
TEXTS: Final = Kind(read_texts, {"type": "array", "items": {"type": "string"}})
FLAG: Final = Kind(_read_flag, {"type": "boolean"})


def whole(low: int, high: int | None = None) -> Kind:
    """Make the kind of whole numbers within bounds; both are included."""
    bounds = f"from {low} to {high}" if high is not None else f"of {low} or more"

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(
                f"must be a whole number {bounds}, not {shown(value)}",
                "Write its digits, without quotes and leading zeros, e.g. 1234.",
            )
        # the number is not shown: it may have more digits than Python prints
        if value < low or (high is not None and value > high):
            raise Wrong(f"must be a whole number {bounds}", "Choose another number.")
        return value

    schema = {"type": "integer", "minimum": low}
    return Kind(read, schema if high is None else {**schema, "maximum": high})


def one_of(*words: str) -> Kind:
    """Make the kind of texts that are one of some words."""

    def read(value: Any) -> str:
        if value not in words:
            raise Wrong(f"must be one of {', '.join(words)}", f'For example "{words[0]}".')
        return str(value)

    return Kind(read, {"enum": list(words)})


def quantity(read: Callable[[str], Any], pattern: str, words: str) -> Kind:
    """Make the kind of texts that `read` understands; it raises ValueError with what it wants."""

    def check(value: Any) -> Any:
        try:
            return read(value if isinstance(value, str) else "")
        except ValueError as error:
            wanted = str(error)
            raise Wrong(f"cannot be {shown(value)}", f"{wanted[:1].upper()}{wanted[1:]}.") from None

    return Kind(check, {"type": "string", "pattern": pattern}, words)


def either(word: str, meaning: Any, kind: Kind) -> Kind:
    """Make the kind that is one word with a meaning of its own, or else another kind."""
    return Kind(
        lambda value: meaning if value == word else kind.read(value),
        {"anyOf": [{"const": word}, kind.schema]},
        f'"{word}" or {kind.words}' if kind.words else "",
    )


def _percent(text: str) -> float:
    match = re.fullmatch(r"(\d{1,3})\s*%", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= 100:
        raise ValueError('expected a percentage such as "80%"')
    return int(match[1]) / 100


_NUMBER: Final = r"\s*(\d+(\.\d+)?|\.\d+)\s*[A-Za-z]+\s*"
SECONDS: Final = quantity(quantities.seconds, f"^{_NUMBER}$", "a duration")
SIZE: Final = quantity(quantities.size, f"^{_NUMBER}$", "a size")
RANGE: Final = quantity(
    quantities.duration_range, rf"^{_NUMBER}\.\.{_NUMBER}$", "a range of durations"
)
WINDOW: Final = quantity(
    quantities.window, r"^\s*\d{1,2}:\d{2}\s*-\s*\d{1,2}:\d{2}\s*$", "two times of day"
)
PERCENT: Final = quantity(_percent, r"^\d{1,3}\s*%$", "a percentage")


def shown(value: Any) -> str:
    """Describe a value by its kind, with the value where it is short enough to be read."""
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else "a text"
    return repr(value) if isinstance(value, float) else kind_of(value)


def kind_of(value: Any) -> str:
    """Name the kind of a value as TOML calls it."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a table",
        type(None): "nothing",
    }
    return names.get(type(value), f"a {type(value).__name__}")

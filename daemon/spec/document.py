"""Read the text of a TOML or YAML file that anybody may have written.

Depth and size are bounded, nothing is executed, and each key has its line.
"""

import re
from typing import Any, Final

from rekindle.daemon.spec import toml_text, yaml_text

_HEADER: Final = re.compile(r"\s*\[\s*([\w.\"'-]+)\s*\]")


class Unreadable(ValueError):
    """A text that is no table of TOML or YAML; `line` is 1-based, None where it is unknown."""

    def __init__(self, what: str, hint: str, line: int | None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.line = line


class Document:
    """The table that a file holds, and the line of each key in it.

    Args:
        noun: what the file is, for messages, e.g. "spec".
        page: where its keys are documented.

    Raises:
        Unreadable: it is not UTF-8, not TOML or YAML, or no table.
    """

    def __init__(self, data: bytes, *, toml: bool, noun: str, page: str) -> None:
        self._toml = toml
        self._yaml_lines: dict[str, int] = {}
        try:
            self._text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise Unreadable(f"The {noun} is not UTF-8 text.", "Save it as UTF-8.", line) from error
        try:
            self.table = self._load()
        except (toml_text.TomlProblem, yaml_text.YamlProblem) as error:
            kind = "TOML" if toml else "YAML"
            raise Unreadable(
                f"The {noun} is not valid {kind}: {error}.",
                f"{page} shows each key with an example.",
                error.line,
            ) from error

    def line(self, key: str) -> int | None:
        """Find the line of a dotted key, or of the header of a table."""
        if not self._toml:
            return self._yaml_lines.get(key)
        table, _, name = key.rpartition(".")
        inside = ""
        for number, line in enumerate(self._text.splitlines(), 1):
            header = _HEADER.match(line)
            if header:
                inside = header[1].strip("\"'")
                if inside == key:
                    return number
            wanted = name if inside == table else (key if inside == "" else None)
            if wanted and re.match(rf"\s*[\"']?{re.escape(wanted)}[\"']?\s*[=.]", line):
                return number
            if inside == "" and table and re.match(rf"\s*{re.escape(table)}\s*[=.]", line):
                return number
        return None

    def _load(self) -> dict[str, Any]:
        if self._toml:
            return toml_text.load(self._text)
        value, self._yaml_lines = yaml_text.load(self._text)
        if not isinstance(value, dict):
            raise yaml_text.YamlProblem("a spec is a mapping of keys to values", 1)
        return value

"""Read TOML that anybody may have written: with bounded depth, and the line of an error."""

import re
import tomllib
from typing import Any, Final

_MAX_DEPTH: Final = 20
# texts and comments, as tomllib delimits them; what is not closed reaches to the end, where
# tomllib gives up as well
_TEXT: Final = re.compile(
    r'''"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|'''
    r"""'''.*?(?:'{3,5}|\Z)|"""
    r""""(?:\\.|[^"\\\n])*(?:"|(?=\n)|\\?\Z)|"""
    r"""'[^'\n]*(?:'|(?=\n)|\Z)|#[^\n]*""",
    re.DOTALL,
)
_DEEP_KEY: Final = re.compile(rf"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){{{_MAX_DEPTH}}}")


class TomlProblem(ValueError):
    """A text that is not TOML, or nested too deeply; ``line`` is 1-based, None if unknown."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.line = line


def load(text: str) -> dict[str, Any]:
    """Load the table of a TOML text.

    Raises:
        TomlProblem: syntax error, or nested too deeply.
    """
    # before tomllib sees it: its memory grows with the square of a dotted key's length
    bare = _TEXT.sub(lambda found: "q" + "\n" * found[0].count("\n"), text)
    deep = _DEEP_KEY.search(bare)
    if deep is not None:
        raise TomlProblem("it is nested too deeply", bare.count("\n", 0, deep.start()) + 1)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise TomlProblem(str(error), int(found[1]) if found else text.count("\n") + 1) from error
    except RecursionError as error:
        raise TomlProblem("it is nested too deeply", None) from error
    except ValueError as error:  # a number of more digits than Python reads
        raise TomlProblem(str(error), None) from error

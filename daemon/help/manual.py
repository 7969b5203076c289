"""Find the manual page, which `make man` writes from the parsers of the verbs.

A wheel installs it a second time, where `man` finds it.
"""

from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).with_name("rekindle.1")


def read() -> str:
    """Return the page."""
    return PAGE.read_text()

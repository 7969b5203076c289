"""Write the manual page from the parsers of the verbs: `make man`."""

import os

from argparse_manpage.manpage import Manpage

from rekindle.daemon.client import cli
from rekindle.daemon.help import manual


def text() -> str:
    """Compose the page."""
    page = Manpage(cli.whole_parser(), format="single-commands-section")
    page.description = "train Keras models overnight, with bit-identical resumption"
    page.manual = "User Commands"
    page.date = ""  # else the page would differ each day
    return str(page)


def main() -> None:
    temporary = manual.PAGE.with_suffix(".tmp")
    temporary.write_text(text())
    os.replace(temporary, manual.PAGE)


if __name__ == "__main__":
    main()

"""``rekindle import-run``: takes a job over from another box."""

import argparse
from pathlib import Path

from rekindle.daemon.client import ask, lookup
from rekindle.daemon.transfer import archive
from rekindle.state.errors import HomeUnusable, NotFound
from rekindle.state.ledger.ledger import Ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="what `rekindle export-run` wrote")
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="the job's working folder here (default: the same as there)",
    )
    parser.add_argument(
        "--python", metavar="PATH", help="its interpreter here (default: the same as there)"
    )
    parser.add_argument("--hold", action="store_true", help="leave it held, do not go on")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    home.create()
    try:
        token = archive.unpack(args.file, home, workdir=args.workdir, python=args.python)
    except PermissionError as error:
        raise HomeUnusable(
            f"The run cannot be put into the home: {error.strerror}.",
            where=error.filename,
            hint="Run as the user that owns the home.",
        ) from error
    book: Ledger | None
    try:
        book = lookup.ledger(home)
    except NotFound:
        book = None
    try:
        print(ask.ask(home, book, "import", token, hold=args.hold))
    finally:
        if book is not None:
            book.close()
    return 0

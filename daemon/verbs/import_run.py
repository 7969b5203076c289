"""``rekindle import-run``: import a job from the archive of another host."""

import argparse
from pathlib import Path

from rekindle.daemon.client import ask, json_text, lookup
from rekindle.daemon.transfer import archive
from rekindle.state.errors import HomeUnusable, NotFound
from rekindle.state.ledger.ledger import Ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the archive that `rekindle export-run` wrote")
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="the job's working folder on this host (default: unchanged)",
    )
    parser.add_argument(
        "--python", metavar="PATH", help="the job's interpreter on this host (default: unchanged)"
    )
    parser.add_argument("--hold", action="store_true", help="leave the job held")
    parser.add_argument("--quiet", action="store_true", help="print only the job's id")
    json_text.add_argument(parser)


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    home.create()
    try:
        token = archive.unpack(args.file, home, workdir=args.workdir, python=args.python)
    except PermissionError as error:
        raise HomeUnusable(
            f"Cannot write the run into the home: {error.strerror}.",
            where=error.filename,
            hint="Run as the user that owns the home.",
        ) from error
    book: Ledger | None
    try:
        book = lookup.ledger(home)
    except NotFound:
        book = None
    try:
        answer = ask.ask(home, book, "import", token, hold=args.hold)
        job = None if book is None else book.find_claim(token)
    finally:
        if book is not None:
            book.close()
    if args.json:
        json_text.write({"file": str(args.file), **answer.as_json(job)})
    elif args.quiet and job is not None:
        print(job)
    else:
        answer.print(args)
    return answer.code

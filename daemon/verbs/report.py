"""``rekindle report``: report a period in one look, as text, JSON or one HTML file.

All three have one order: headline, what needs a person, done, running, refused, timeline, host.
"""

import argparse
import contextlib
import os
import time
from pathlib import Path

from rekindle.daemon.client import json_text, lookup, terminal
from rekindle.daemon.client.lines import Page
from rekindle.daemon.report import details, document, facts, page, since, summary, text
from rekindle.state.errors import NotFound, UsageError
from rekindle.state.ledger.period import Period
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        default=since.EVENING,
        metavar="TIME",
        help='18:00, "2026-11-26 18:00" or 12h (default: the latest 18:00)',
    )
    parser.add_argument(
        "--all", action="store_true", help="all results and the whole timeline, not only the newest"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write a page with the curves of all attempts, the timeline and the receipts",
    )
    json_text.add_argument(kind)


def main(args: argparse.Namespace) -> int:
    home, now = lookup.home(args), time.time()
    began = since.parse(args.since, now)
    with contextlib.ExitStack() as stack:
        book = _open(home, args)
        if book is not None:
            stack.enter_context(contextlib.closing(book))
        found = facts.read(home, book, began, now)
        made = summary.of(found)
        if args.html is not None:
            _write(args.html, page.render(made, details.read(home, book, found), args.home))
        elif args.json:
            json_text.write({"home": str(home.root), **document.as_json(made)})
        else:
            text.print_summary(made, Page(), args.home, whole=args.all)
    return 0


def _write(file: Path, content: str) -> None:
    """Write the page; an earlier one stays whole until then."""
    if file.is_dir():
        raise UsageError(
            "--html names a folder.", where=file, hint=f"Write --html {file / 'report.html'}."
        )
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text(content, encoding="utf-8", errors="backslashreplace")
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
    print(f"Wrote {file} ({terminal.size(file.stat().st_size)}).")


def _open(home: Home, args: argparse.Namespace) -> Period | None:
    try:
        return Period.open(home.ledger, readonly=True)
    except NotFound:
        # specs may wait in the inbox before the first daemon; no home at all is an error
        if not home.inbox.is_dir():
            raise
        return None

"""``rekindle report``: report a period in one look, as text, JSON or one HTML file.

All three have one order: headline, what needs a person, done, running, refused, timeline, host.
"""

import argparse
import contextlib
import time

from rekindle.daemon.client import json_text, lookup
from rekindle.daemon.client.lines import Page
from rekindle.daemon.report import document, facts, since, summary, text
from rekindle.state.errors import NotFound
from rekindle.state.ledger.period import Period
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        default=since.EVENING,
        metavar="TIME",
        help='18:00, "2026-11-26 18:00" or 12h (default: the latest 18:00)',
    )
    parser.add_argument("--all", action="store_true", help="the whole timeline")
    json_text.add_argument(parser)


def main(args: argparse.Namespace) -> int:
    home, now = lookup.home(args), time.time()
    began = since.parse(args.since, now)
    with contextlib.ExitStack() as stack:
        book = _open(home, args)
        if book is not None:
            stack.enter_context(contextlib.closing(book))
        found = facts.read(home, book, began, now)
        made = summary.of(found)
        if args.json:
            json_text.write({"home": str(home.root), **document.as_json(made)})
        else:
            text.print_summary(made, Page(), args.home, whole=args.all)
    return 0


def _open(home: Home, args: argparse.Namespace) -> Period | None:
    try:
        return Period.open(home.ledger, readonly=True)
    except NotFound:
        # specs may wait in the inbox before the first daemon; no home at all is an error
        if not home.inbox.is_dir():
            raise
        return None

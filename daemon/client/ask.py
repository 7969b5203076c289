"""Ask the daemon for something: write a request, and wait for the answer."""

import argparse
import sys
import time
from typing import Any, Final

from rekindle.daemon import daemon_status
from rekindle.daemon.client import lookup, rejections
from rekindle.daemon.intake import requests
from rekindle.state.errors import Refused
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

ANSWER_S: Final = 10.0
"""Seconds to wait for an answer; after that the request stays in the inbox."""
_LATER: Final = "No daemon is running; the request is carried out when one starts."


def about_job(args: argparse.Namespace, verb: str, **fields: Any) -> int:
    """Write a request for each job in ``args.jobs``; return 0, or 2 if one is refused.

    Raises:
        NotFound: one of the jobs does not exist; no request is written.
    """
    home = lookup.home(args)
    book = lookup.ledger(home)
    code = 0
    try:
        for job in [lookup.job(book, named).id for named in args.jobs]:
            try:
                print(f"{job}: {ask(home, book, verb, job, **fields)}")
            except Refused as error:  # one refusal must not keep the other jobs from their request
                code = error.exit_code
                print(f"rekindle: {job}: {error}", file=sys.stderr)
    finally:
        book.close()
    return code


def about_queue(args: argparse.Namespace, verb: str, **fields: Any) -> int:
    """Write a request about the whole queue; create a missing home; return 0."""
    home = lookup.home(args)
    if daemon_status.find(home) is None:
        home.create()
        requests.write(home, verb, None, **fields)
        print(_LATER)
        return 0
    book = lookup.ledger(home)
    try:
        print(ask(home, book, verb, None, **fields))
    finally:
        book.close()
    return 0


def ask(home: Home, book: Ledger | None, verb: str, job: str | None, **fields: Any) -> str:
    """Write a request; return the daemon's answer, or a sentence on when it will come.

    Raises:
        Refused: the daemon could not read the request or carry it out.
    """
    path = requests.write(home, verb, job, **fields)
    if book is None or daemon_status.find(home) is None:
        return _LATER
    end = time.monotonic() + ANSWER_S
    while time.monotonic() < end:
        for event in reversed(book.events(kind="request_answered", newest=50)):
            if event.data.get("request") == path.name:
                return str(event.data["answer"])
        refusal = rejections.of_request(home, book, path.name)
        if refusal is not None:
            raise refusal
        time.sleep(0.05)
    return "The daemon has not answered yet; the request stays in the inbox."

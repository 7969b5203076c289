"""Ask the daemon for something: write a request, and wait for the answer.

The exit code is 0 only if what was asked is done, or will be.
"""

import argparse
import dataclasses
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from rekindle.daemon import daemon_status
from rekindle.daemon.client import json_text, lookup, rejections
from rekindle.daemon.intake import requests
from rekindle.state.errors import Refused
from rekindle.state.hints import name_home
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.paths import Home

ANSWER_S: Final = 10.0
"""Seconds to wait for an answer; after that the request stays in the inbox."""
NEW_CODE_S: Final = 60.0
"""Seconds to wait for an answer where ten thousand files may have to be copied first."""
UNANSWERED: Final = 5
"""Exit code where no answer came in time."""
_NO_DAEMON: Final = (
    "No daemon is running; the request waits in the inbox and is carried out when one starts."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Describe what became of a request.

    Attributes:
        done: whether what was asked is done or will be; None if there is no answer yet.
        code: the exit code.
        request: name of its file.
    """

    text: str
    done: bool | None
    code: int = 0
    where: str | None = None
    hint: str = ""
    request: str = ""

    def as_json(self, job: str | None) -> dict[str, Any]:
        """Return the shape that docs/json.md describes."""
        return {
            "job": job,
            "done": self.done,
            "answer": self.text,
            "where": self.where,
            "hint": self.hint,
            "code": self.code,
        }

    def print(self, args: argparse.Namespace, prefix: str = "") -> None:
        """Print it for a person; a refusal to standard error."""
        text = f"{prefix}{self.text}"
        if self.code:
            text = f"rekindle: {text}" + (f"\n  where: {self.where}" if self.where else "")
        if self.hint:
            text += f"\n  hint: {name_home(self.hint, args.home)}"
        print(text, file=sys.stderr if self.code else sys.stdout)


def about_job(args: argparse.Namespace, verb: str, **fields: Any) -> int:
    """Write a request for each job in ``args.jobs``; return the highest exit code.

    Raises:
        NotFound: one of the jobs does not exist; no request is written.
    """
    home = lookup.home(args)
    book = lookup.ledger(home)
    answers = {}
    try:
        # one refusal must not keep the other jobs from their request
        for job in [lookup.job(book, named).id for named in args.jobs]:
            answers[job] = ask(home, book, verb, job, **fields)
            if not args.json:
                answers[job].print(args, f"{job}: ")
    finally:
        book.close()
    if args.json:
        json_text.write(
            {"verb": verb, "requests": [one.as_json(job) for job, one in answers.items()]}
        )
    return max(one.code for one in answers.values())


def about_queue(args: argparse.Namespace, verb: str, **fields: Any) -> int:
    """Write a request about the whole queue; create a missing home; return the exit code."""
    home = lookup.home(args)
    if daemon_status.find(home) is None:
        home.create()
        answer = ask(home, None, verb, None, **fields)
    else:
        book = lookup.ledger(home)
        try:
            answer = ask(home, book, verb, None, **fields)
        finally:
            book.close()
    if args.json:
        json_text.write({"verb": verb, "requests": [answer.as_json(None)]})
    else:
        answer.print(args)
    return answer.code


def ask(
    home: Home,
    book: Ledger | None,
    verb: str,
    job: str | None,
    *,
    patience: float | None = None,
    **fields: Any,
) -> Answer:
    """Write a request and wait for the answer of the daemon, if one is running.

    Args:
        patience: seconds to wait; by default as long as the verb takes.
    """
    since = 0 if book is None else book.last_event()
    path = requests.write(home, verb, job, **fields)
    if book is None or daemon_status.find(home) is None:
        return Answer(_NO_DAEMON, None, hint="`rekindle run` starts one.")
    if patience is None:
        patience = NEW_CODE_S if fields.get("new_code") else ANSWER_S
    end = time.monotonic() + patience
    while time.monotonic() < end:
        answer = _find(home, book, path.name, since)
        if answer is None and daemon_status.find(home) is None:
            return Answer(_NO_DAEMON, None, hint="`rekindle run` starts one.")
        if answer is not None:
            return dataclasses.replace(answer, request=path.name)
        time.sleep(0.05)
    return Answer(
        f"The daemon has not answered within {patience:.0f} s; the request stays in the inbox, "
        "and it is not known yet whether it can be carried out.",
        None,
        UNANSWERED,
        where=str(path),
        hint="`rekindle ls` shows the state of the job and of the daemon.",
    )


def _find(home: Home, book: Ledger, request: str, since: int) -> Answer | None:
    """Find the answer to a request among the events after the one with the id ``since``."""
    for event in book.events(kind="request_answered", after=since):
        if event.data.get("request") == request:
            # an older daemon gives no code
            code = int(event.data.get("code") or 0)
            hint = str(event.data.get("hint") or "")
            return Answer(str(event.data["answer"]), not code, code, hint=hint)
    refusal = rejections.of_request(home, book, request, since)
    if refusal is None:
        return None
    return Answer(refusal.what, False, Refused.exit_code, refusal.where, refusal.hint)

"""``rekindle fork``: begin a new job from a checkpoint of another one, with other arguments."""

import argparse

from rekindle.daemon.client import ask, json_text, lookup
from rekindle.daemon.intake import requests

PATIENCE_S = 120.0
"""Seconds to wait for an answer: gigabytes may have to be verified first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "rekindle fork [--name NAME] [--replace] [--quiet] [--json] JOB[:EPOCH] [-- ARGUMENTS]"
    )
    parser.description = (
        "Begin a new job from a checkpoint of another one: its weights, optimizer, random states, "
        "position in the data and history. Arguments after `--` follow those of the other job. "
        "What they change stays as the script sets it, and is named in the receipt (`rekindle "
        "show`); the other job is not changed."
    )
    lookup.add_job(parser, epoch=True)
    parser.add_argument("--name", metavar="NAME", help="the new job's name (default: the other's)")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="the arguments after `--` replace those of the other job",
    )
    parser.add_argument("--quiet", action="store_true", help="print only the new job's id")
    json_text.add_argument(parser, "print the answer as JSON")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    named, mark, after = args.job.partition(":")
    which = int(after) if after.isascii() and after.isdecimal() else after
    book = lookup.ledger(home)
    try:
        job = lookup.job(book, named).id
        answer = ask.ask(
            home,
            book,
            "fork",
            job,
            patience=PATIENCE_S,
            which=which if mark else None,
            args=args.rest,
            replace=args.replace,
            name=args.name,
        )
        made = book.find_claim(requests.claim_of(answer.request)) if answer.done else None
    finally:
        book.close()
    if args.json:
        json_text.write(
            {"verb": "fork", "requests": [answer.as_json(job)], "job": made, "from": job}
        )
    elif args.quiet and made is not None:
        print(made)
    else:
        answer.print(args, "" if made is not None else f"{job}: ")
    return answer.code

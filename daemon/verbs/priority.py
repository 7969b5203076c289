"""``rekindle priority``: change the order of queued jobs."""

import argparse

from rekindle.daemon.client import ask, json_text, lookup
from rekindle.state.lifecycle import OPEN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_jobs(parser, states=OPEN)
    parser.add_argument(
        "value",
        type=int,
        metavar="N",
        help="the highest starts first; running jobs are not interrupted (default of a spec: 0)",
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_job(args, "priority", value=args.value)

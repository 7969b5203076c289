"""``rekindle priority``: change the order of queued jobs."""

import argparse

from rekindle.daemon.client import ask, json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="+", metavar="job", help="a job's id, or a name for the newest of that name"
    )
    parser.add_argument(
        "value",
        type=int,
        metavar="N",
        help="the highest starts first; running jobs are not interrupted (default of a spec: 0)",
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_job(args, "priority", value=args.value)

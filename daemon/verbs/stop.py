"""``rekindle stop``: save jobs and hold them."""

import argparse

from rekindle.daemon.client import ask, json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="+", metavar="job", help="a job's id, or a name for the newest of that name"
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_job(args, "stop")

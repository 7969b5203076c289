"""``rekindle cancel``: end jobs for good; their files are kept."""

import argparse

from rekindle.daemon.client import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="+", metavar="job", help="a job's id, or a name for the newest of that name"
    )


def main(args: argparse.Namespace) -> int:
    return ask.about_job(args, "cancel")

"""``rekindle stop``: saves jobs and holds them."""

import argparse

from rekindle.daemon import asking


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="+", metavar="job", help="a job's id, or a name for the newest of that name"
    )


def main(args: argparse.Namespace) -> int:
    return asking.about_job(args, "stop")

"""``rekindle priority``: lets jobs go before or behind others."""

import argparse

from rekindle.daemon import asking


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="+", metavar="job", help="a job's id, or a name for the newest of that name"
    )
    parser.add_argument(
        "value",
        type=int,
        metavar="N",
        help="higher goes first; what runs is not interrupted (default of a spec: 0)",
    )


def main(args: argparse.Namespace) -> int:
    return asking.about_job(args, "priority", value=args.value)

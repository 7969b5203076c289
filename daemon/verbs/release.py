"""``rekindle release``: lets held jobs go on."""

import argparse

from rekindle.daemon.client import ask
from rekindle.jobs import quantities
from rekindle.state.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="+", metavar="job", help="a job's id, or a name for the newest of that name"
    )
    parser.add_argument(
        "--max-runtime",
        metavar="TIME",
        help='a longer `max_runtime` from now on, in all, e.g. "12h"',
    )


def main(args: argparse.Namespace) -> int:
    if args.max_runtime is None:
        return ask.about_job(args, "release")
    try:
        quantities.seconds(args.max_runtime)
    except ValueError as error:
        raise UsageError(
            f"--max-runtime is not understood: {error}.", hint="For example --max-runtime 12h."
        ) from None
    return ask.about_job(args, "release", max_runtime=args.max_runtime)

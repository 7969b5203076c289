"""``rekindle release``: let held jobs continue."""

import argparse

from rekindle.daemon.client import ask, json_text, lookup
from rekindle.jobs import quantities
from rekindle.state.errors import UsageError
from rekindle.state.lifecycle import JobState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_jobs(parser, states={JobState.HELD})
    parser.add_argument(
        "--max-runtime",
        metavar="TIME",
        help='set a new `max_runtime` for the whole job, e.g. "12h"',
    )
    parser.add_argument(
        "--new-code",
        action="store_true",
        help="run the script as it is now, not the snapshot; names the files that differ",
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    if args.max_runtime is None:
        return ask.about_job(args, "release", new_code=args.new_code)
    try:
        quantities.seconds(args.max_runtime)
    except ValueError as error:
        raise UsageError(
            f"--max-runtime: {error}.", hint="Write for example --max-runtime 12h."
        ) from None
    return ask.about_job(args, "release", max_runtime=args.max_runtime, new_code=args.new_code)

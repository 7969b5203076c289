"""``rekindle run``: the daemon."""

import argparse

from rekindle.daemon import lookup, service
from rekindle.daemon.log import FORMATS
from rekindle.state.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--until-idle", action="store_true",
                        help="end when no job is left that could go on by itself")
    parser.add_argument("--slots", type=int, default=1, metavar="N",
                        help="how many jobs train at once (default: 1)")
    parser.add_argument("--log-format", choices=FORMATS, default="auto",
                        help="console or json; auto: console on a terminal")


def main(args: argparse.Namespace) -> int:
    if args.slots < 1:
        raise UsageError(f"--slots must be 1 or more, not {args.slots}.",
                         hint="Leave it out for one job at a time.")
    return service.run(lookup.home(args), service.Options(
        until_idle=args.until_idle, slots=args.slots, log_format=args.log_format))

"""``rekindle run``: run the daemon."""

import argparse

from rekindle.daemon import config, log
from rekindle.daemon.log import FORMATS
from rekindle.daemon.service import service
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--until-idle",
        action="store_true",
        help="end when no job is left that can run without a person",
    )
    parser.add_argument(
        "--slots",
        type=int,
        metavar="N",
        help="how many jobs without a GPU run at once (default: that of rekindle.toml, else 1)",
    )
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        default="auto",
        help="console or json; auto is console on a terminal (default: auto)",
    )


def main(args: argparse.Namespace) -> int:
    if args.slots is not None and args.slots < 1:
        raise UsageError(
            f"--slots must be 1 or more, not {args.slots}.",
            hint="Leave --slots out for one job at a time.",
        )
    log.ensure_streams()
    home = Home.default(args.home)
    settings = config.read(home)
    return service.run(
        home,
        service.Options(
            until_idle=args.until_idle,
            slots=args.slots or settings.slots or 1,
            log_format=args.log_format,
            config=settings,
        ),
    )

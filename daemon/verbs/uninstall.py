"""``rekindle uninstall``: takes the service away and leaves all data."""

import argparse
import os
from pathlib import Path

from rekindle.daemon.install import install
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="the one of yours alone")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")


def main(args: argparse.Namespace) -> int:
    steps = install.removal(install.interpreter(), Path.home() if args.user else None)
    if args.dry_run:
        for step in steps:
            print(install.describe(step))
        return 0
    if not args.user and os.geteuid() != 0:
        raise UsageError(
            "The system service is removed as root.",
            hint="sudo rekindle uninstall, or `rekindle uninstall --user`.",
        )
    install.carry_out(steps, print)
    home = Home.default().root if args.user else install.HOME
    print(f"The service is gone. All jobs, checkpoints and logs are kept: {home}")
    if not args.user:
        print("The user rekindle, who owns them, is kept as well.")
    return 0

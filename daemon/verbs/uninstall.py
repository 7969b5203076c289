"""``rekindle uninstall``: remove the service; all data stays."""

import argparse
import os
from pathlib import Path

from rekindle.daemon.client import json_text
from rekindle.daemon.install import install
from rekindle.daemon.verbs.install import as_json
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="the service of the current user")
    parser.add_argument("--dry-run", action="store_true", help="print the steps, change nothing")
    json_text.add_argument(parser, "print the steps as JSON")


def main(args: argparse.Namespace) -> int:
    steps = install.removal(install.interpreter(), Path.home() if args.user else None)
    if args.dry_run and args.json:
        json_text.write(as_json(args, [install.describe(step) for step in steps]))
        return 0
    if args.dry_run:
        for step in steps:
            print(install.describe(step))
        return 0
    if not args.user and os.geteuid() != 0:
        raise UsageError(
            "Removing the system service needs root.",
            hint=f"`sudo {install.command(install.interpreter())} uninstall`, or `rekindle "
            "uninstall --user` for your own service.",
        )
    if args.json:
        said: list[str] = []
        install.carry_out(steps, said.append)
        json_text.write(as_json(args, said))
        return 0
    install.carry_out(steps, print)
    home = Home.default().root if args.user else install.HOME
    print(f"The service is removed. All jobs, checkpoints and logs are kept: {home}")
    if not args.user:
        print("Their owner, the user rekindle, is also kept.")
    return 0

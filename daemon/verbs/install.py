"""``rekindle install``: makes the daemon a systemd service, of the system or of one person."""

import argparse
import os
from pathlib import Path

from rekindle.daemon.install import install
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="for yourself alone, without root")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")


def main(args: argparse.Namespace) -> int:
    if args.home:
        raise UsageError(
            "A service finds its home by its unit, not by --home.",
            hint="Install it without; then name another home in a drop-in, see docs/operations.md.",
        )
    python = install.interpreter()
    steps = install.user(python, Path.home()) if args.user else install.system(python)
    if args.dry_run:
        for step in steps:
            print(install.describe(step))
            if isinstance(step, install.Write):
                print("".join(f"    {line}\n" for line in step.text.splitlines()), end="")
        return 0
    if not args.user and os.geteuid() != 0:
        raise UsageError(
            "The system service is installed as root.",
            hint="sudo rekindle install, or `rekindle install --user` for yourself alone.",
        )
    install.carry_out(steps, print)
    if args.user:
        print(f"rekindle is running for you; its home is {Home.default().root}")
        print("Look at it:   systemctl --user status rekindle")
    else:
        print(f"rekindle is running; its home is {install.HOME}")
        print("Look at it:   systemctl status rekindle")
        print("Who may use it:  usermod --append --groups rekindle NAME, and for these people")
        print(f"                 export REKINDLE_HOME={install.HOME}")
    return 0

"""``rekindle install``: install the daemon as a systemd service, of the system or a user."""

import argparse
import os
from pathlib import Path
from typing import Any

from rekindle.daemon.client import json_text
from rekindle.daemon.install import install
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--user", action="store_true", help="as a service of the current user, without root"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the steps, change nothing")
    json_text.add_argument(parser, "print the steps as JSON")


def main(args: argparse.Namespace) -> int:
    if args.home:
        raise UsageError(
            "--home does not apply to a service: its unit names its home.",
            hint="Leave --home out; set another home in a drop-in, see docs/operations.md.",
        )
    python = install.interpreter()
    steps = install.user(python, Path.home()) if args.user else install.system(python)
    if args.dry_run and args.json:
        json_text.write(as_json(args, [install.describe(step) for step in steps]))
        return 0
    if args.dry_run:
        for step in steps:
            print(install.describe(step))
            if isinstance(step, install.Write):
                print("".join(f"    {line}\n" for line in step.text.splitlines()), end="")
        return 0
    if not args.user and os.geteuid() != 0:
        raise UsageError(
            "Installing the system service needs root.",
            hint=f"`sudo {install.command(python)} install`, or `rekindle install --user` for the "
            "current user only.",
        )
    if args.json:
        said: list[str] = []
        install.carry_out(steps, said.append)
        json_text.write(as_json(args, said))
        return 0
    install.carry_out(steps, print)
    if args.user:
        print(f"rekindle is running as your service; its home is {Home.default().root}")
        print("Its status:   systemctl --user status rekindle")
    else:
        print(f"rekindle is running; its home is {install.HOME}")
        print("Its status:   systemctl status rekindle")
        print("Add a user:   usermod --append --groups rekindle NAME   (from the next login on)")
        print("              `rekindle submit` then finds this home by itself")
    return 0


def as_json(args: argparse.Namespace, steps: list[str]) -> dict[str, Any]:
    """Return the shape that docs/json.md describes, of `install` and `uninstall`."""
    return {
        "service": "user" if args.user else "system",
        "home": str(Home.default().root if args.user else install.HOME),
        "dry_run": args.dry_run,
        "steps": steps,
    }

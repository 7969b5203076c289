"""``rekindle doctor``: check host and home before the night; exit code 1 for errors."""

import argparse

from rekindle.daemon.client import json_text, lookup, terminal
from rekindle.daemon.doctor import doctor
from rekindle.jobs import quantities
from rekindle.state.counted import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-imports", action="store_true", help="skip importing Keras as each waiting job would"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=doctor.IMPORT_S,
        metavar="TIME",
        help='longest time for these imports together, e.g. "10min" (default: 5min)',
    )
    json_text.add_argument(parser, "print the findings as JSON")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    console = terminal.console()
    found = []
    with terminal.doing("checking", None if args.json else console) as show:
        for finding in doctor.examine(
            home,
            imports=not args.no_imports,
            timeout=args.timeout,
            report=lambda what: show(f"checking: {what}"),
        ):
            found.append(finding)
            if not args.json:
                terminal.print_finding(console, finding)
    errors = sum(one.severity == "error" for one in found)
    if args.json:
        json_text.write(
            {
                "home": str(home.root),
                "fine": not errors,
                "findings": [
                    {"severity": f.severity, "check": f.check, "what": f.what, "hint": f.hint}
                    for f in found
                ],
            }
        )
    else:
        console.print(_summary(errors, sum(one.severity == "warning" for one in found)))
    return 1 if errors else 0


def _summary(errors: int, warnings: int) -> str:
    more = counted(warnings, "warning")
    if errors:
        return f"Not ready for the night: {counted(errors, 'error')}, {more}."
    return f"Ready for the night, with {more}." if warnings else "Ready for the night."


def _seconds(text: str) -> float:
    try:
        return quantities.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

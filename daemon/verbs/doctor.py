"""``rekindle doctor``: check host and home before the night; exit code 1 for errors."""

import argparse

from rich.markup import escape

from rekindle.daemon.client import json_text, lookup, terminal
from rekindle.daemon.doctor import doctor
from rekindle.state.counted import counted

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-imports",
        action="store_true",
        help="skip importing Keras in the interpreters of waiting jobs",
    )
    json_text.add_argument(parser, "print the findings as JSON")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    console = terminal.console()
    findings = []
    for finding in doctor.examine(home, imports=not args.no_imports):
        findings.append(finding)
        if args.json:
            continue
        style = _STYLES[finding.severity]
        console.print(
            f"[{style}]{finding.severity:7}[/] {finding.check}: {escape(finding.what)}",
            soft_wrap=True,
        )
        if finding.hint:
            console.print(f"        hint: {escape(finding.hint)}", soft_wrap=True)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    if args.json:
        json_text.write(
            {
                "home": str(home.root),
                "fine": not errors,
                "findings": [
                    {"severity": f.severity, "check": f.check, "what": f.what, "hint": f.hint}
                    for f in findings
                ],
            }
        )
    elif errors:
        console.print(
            f"Not ready for the night: {counted(errors, 'error')}, {counted(warnings, 'warning')}."
        )
    else:
        console.print(
            f"Ready for the night, with {counted(warnings, 'warning')}."
            if warnings
            else "Ready for the night."
        )
    return 1 if errors else 0

"""``rekindle verify``: check a whole home; ``--rebuild`` rebuilds its ledger."""

import argparse

from rich.markup import escape

from rekindle.daemon.client import lookup, terminal
from rekindle.daemon.verify import rebuild, verify
from rekindle.state.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="rebuild the ledger from the run directories; the old one is kept",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    if args.rebuild:
        _rebuild(home, quiet=args.json)
    findings = verify.verify(home)
    bad = sum(finding.severity == "error" for finding in findings)
    if args.json:
        terminal.print_json(
            {
                "home": str(home.root),
                "sound": not bad,
                "findings": [
                    {
                        "severity": f.severity,
                        "job": f.job,
                        "where": f.where,
                        "what": f.what,
                        "hint": f.hint,
                    }
                    for f in findings
                ],
            }
        )
        return 1 if bad else 0
    console = terminal.console()
    for finding in findings:
        style = "bold red" if finding.severity == "error" else "yellow"
        console.print(f"[{style}]{finding.severity}[/] {escape(finding.what)}")
        console.print(
            f"  where: {escape(finding.where)}\n  hint: {escape(finding.hint)}", soft_wrap=True
        )
    if bad:
        console.print(f"{bad} errors, {len(findings) - bad} warnings.")
    else:
        console.print("The ledger, the run directories and the checkpoints are sound.")
    return 1 if bad else 0


def _rebuild(home: Home, *, quiet: bool) -> None:
    done = rebuild.rebuild(home)
    if quiet:
        return
    print(f"The ledger was rebuilt: {done.jobs} jobs with {done.attempts} attempts.")
    if done.kept_damaged is not None:
        print(f"The old ledger is kept: {done.kept_damaged}")
    for problem in done.problems:
        print(f"  problem: {problem}")

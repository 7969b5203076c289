"""``rekindle verify``: check a whole home; ``--rebuild`` rebuilds its ledger."""

import argparse
from typing import Any

from rich.markup import escape

from rekindle.daemon.client import json_text, lookup, terminal
from rekindle.daemon.verify import rebuild, verify
from rekindle.state.counted import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="rebuild the ledger from the run directories; the old one is kept",
    )
    json_text.add_argument(parser, "print the findings as JSON")


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    rebuilt = rebuild.rebuild(home) if args.rebuild else None
    if rebuilt is not None and not args.json:
        _print_rebuilt(rebuilt)
    findings = verify.verify(home)
    bad = sum(finding.severity == "error" for finding in findings)
    if args.json:
        json_text.write(
            {
                "home": str(home.root),
                "sound": not bad,
                "rebuilt": None if rebuilt is None else _as_json(rebuilt),
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
        console.print(f"{counted(bad, 'error')}, {counted(len(findings) - bad, 'warning')}.")
    else:
        console.print("The ledger, the run directories and the checkpoints are sound.")
    return 1 if bad else 0


def _as_json(done: rebuild.Rebuilt) -> dict[str, Any]:
    return {
        "jobs": done.jobs,
        "attempts": done.attempts,
        "kept_damaged": None if done.kept_damaged is None else str(done.kept_damaged),
        "problems": [str(problem) for problem in done.problems],
    }


def _print_rebuilt(done: rebuild.Rebuilt) -> None:
    print(
        f"The ledger was rebuilt: {counted(done.jobs, 'job')} with "
        f"{counted(done.attempts, 'attempt')}."
    )
    if done.kept_damaged is not None:
        print(f"The old ledger is kept: {done.kept_damaged}")
    for problem in done.problems:
        print(f"  problem: {problem}")

"""``rekindle prune``: show what could be removed; ``--yes`` removes it."""

import argparse
import time
from typing import Any, Final

from rich.markup import escape

from rekindle.daemon import config, daemon_status
from rekindle.daemon.attempts import preflight
from rekindle.daemon.client import ask, json_text, lookup, terminal
from rekindle.daemon.config import Retention
from rekindle.daemon.retention import retention
from rekindle.daemon.retention.retention import Removed, Stock
from rekindle.daemon.source import snapshot
from rekindle.jobs import quantities
from rekindle.state.counted import counted
from rekindle.state.errors import UsageError
from rekindle.state.ledger.ledger import Ledger
from rekindle.state.lifecycle import TERMINAL, JobState
from rekindle.state.paths import Home

_WAIT_S: Final = 600.0
_ALL: Final = 2**63


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show what could be removed of jobs that have ended or are held: all checkpoints but the "
        "last good one, the best one and the ends of stages (of a held job: as many as its spec "
        "keeps), and the quarantine. Nothing is removed without --yes."
    )
    lookup.add_jobs(
        parser, optional="only these jobs (default: all)", states={JobState.HELD, *TERMINAL}
    )
    parser.add_argument(
        "--older-than", metavar="AGE", help='only jobs that ended longer ago, e.g. "7 days"'
    )
    parser.add_argument("--yes", action="store_true", help="remove the listed files")
    json_text.add_argument(parser)


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    age = _age(args.older_than)
    book = lookup.ledger(home)
    try:
        only = [lookup.job(book, named).id for named in args.jobs] or None
        found = [
            retention.look(home.run(stock.job), stock) for stock in retention.stocks(book, only)
        ]
        chosen = retention.choose(found, _everything(age), total=_ALL, now=time.time())
        sources = list(retention.unused_sources(home, set(snapshot.used(home.runs)), time.time()))
        unused = sum(map(retention.size_of, sources))
        if args.yes:
            return _remove(args, home, book, only, age, chosen)
        if args.json:
            json_text.write(_as_json(chosen, unused))
        else:
            _print(chosen, unused, config.read(home).retention)
    finally:
        book.close()
    return 0


def _everything(age: float | None) -> Retention:
    """Return limits that choose all removable files, or only those older than ``age`` seconds."""
    return Retention(max_age=age) if age is not None else Retention(max_bytes=0)


def _age(text: str | None) -> float | None:
    try:
        return None if text is None else quantities.seconds(text)
    except ValueError as error:
        raise UsageError(
            f"--older-than: {error}.", hint='Write for example --older-than "7 days".'
        ) from error


def _remove(
    args: argparse.Namespace,
    home: Home,
    book: Ledger,
    only: list[str] | None,
    age: float | None,
    chosen: list[Stock],
) -> int:
    """Ask the daemon to remove, wait for its round, and report what was removed."""
    last = book.last_event()
    here: list[Removed] = []
    answer = _request(home, book, only, age, chosen, here)
    pruned: dict[str, Any] | None = None
    end = time.monotonic() + _WAIT_S
    while answer.done and daemon_status.find(home) is not None and time.monotonic() < end:
        rounds = book.events(kind="pruned", after=last)
        if rounds:
            pruned = rounds[0].data
            break
        time.sleep(0.1)
    if args.json:
        json_text.write(
            {
                "answer": answer.as_json(None),
                "removed": pruned,
                "removed_here": [
                    {"id": one.job, "checkpoints": one.names, "bytes": one.bytes} for one in here
                ],
            }
        )
        return answer.code
    for one in here:
        _print_removed(one)
    answer.print(args)
    if pruned is not None:
        _print_pruned(pruned)
    return answer.code


def _request(
    home: Home,
    book: Ledger,
    only: list[str] | None,
    age: float | None,
    chosen: list[Stock],
    here: list[Removed],
) -> ask.Answer:
    """Ask the daemon; on a full disk remove ``here`` until there is space for the request.

    Raises:
        UsageError: the request cannot be written, for another reason than a full disk.
    """
    rest = iter(chosen)
    while True:
        try:
            return ask.ask(home, book, "prune", "", only=only, max_age=age)
        except UsageError as error:
            stock = next(rest, None)
            if not preflight.means_full(error.__cause__):
                raise
            if stock is None:
                what = "The disk is full, and nothing more can be removed."
                return ask.Answer(what, False, UsageError.exit_code)
            here.append(retention.reduce(home.run(stock.job), stock))


def _print_removed(done: Removed) -> None:
    print(
        f"{done.job}: removed {counted(len(done.names), 'checkpoint')}, "
        f"freed {terminal.size(done.bytes)}."
        if done.names
        else f"{done.job} was skipped: {done.reason}."
    )


def _print_pruned(data: dict[str, Any]) -> None:
    print(
        f"Removed {counted(data['checkpoints'], 'checkpoint')} of "
        f"{counted(len(data['jobs']), 'job')}, freed {terminal.size(data['bytes'])}."
    )
    for job, reason in data["passed_over"].items():
        print(f"  {job} was skipped: {reason}.")


def _as_json(chosen: list[Stock], unused: int) -> dict[str, Any]:
    return {
        "bytes": sum(stock.bytes for stock in chosen) + unused,
        "sources_bytes": unused,
        "jobs": [
            {
                "id": stock.job,
                "over": stock.over,
                "since": stock.since,
                "bytes": stock.bytes,
                "checkpoints": [p.path.name for p in stock.removable if not p.quarantined],
                "quarantined": [p.path.name for p in stock.removable if p.quarantined],
            }
            for stock in chosen
        ],
    }


def _print(chosen: list[Stock], unused: int, limits: Retention) -> None:
    console = terminal.console()
    table = terminal.table("job", "ended", "removable", "size")
    for stock in chosen:
        quarantined = sum(piece.quarantined for piece in stock.removable)
        count = len(stock.removable) - quarantined
        what = counted(count, "checkpoint")
        what += f" and {quarantined} in quarantine" if quarantined else ""
        table.add_row(
            escape(stock.job),
            terminal.when(stock.since) if stock.over else "held",
            what,
            terminal.size(stock.bytes),
        )
    if chosen:
        console.print(table)
    total = sum(stock.bytes for stock in chosen) + unused
    if unused:
        console.print(f"Code snapshots that no job uses: {terminal.size(unused)}.")
    console.print(
        f"{terminal.size(total)} can be freed."
        + (" `rekindle prune --yes` removes it." if total else "")
    )
    if limits.max_age is None and limits.max_bytes is None:
        console.print(
            "[dim]Nothing is removed automatically: rekindle.toml has no \\[retention].[/]"
        )

"""``rekindle export-run``: write a job into one archive, to move it to another host."""

import argparse
from pathlib import Path

from rekindle.daemon.client import json_text, lookup, terminal
from rekindle.daemon.transfer import archive
from rekindle.jobs import provenance
from rekindle.state.counted import counted
from rekindle.state.errors import UsageError
from rekindle.state.lifecycle import TERMINAL, JobState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_job(parser, states={JobState.HELD, *TERMINAL})
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE.tar",
        help="the archive to write; an existing file is never replaced",
    )
    json_text.add_argument(parser)


def main(args: argparse.Namespace) -> int:
    home = lookup.home(args)
    book = lookup.ledger(home)
    try:
        job = lookup.job(book, args.job)
    finally:
        book.close()
    if job.state not in TERMINAL and job.state != JobState.HELD:
        raise UsageError(
            f"{job.id} is {job.state}: it would run here and on the other host.",
            hint=f"Stop it first: `rekindle stop {job.id}`.",
        )
    ours = provenance.own_version()
    packed = archive.pack(home.run(job.id), args.to, state=str(job.state), version=ours)
    if args.json:
        json_text.write(
            {
                "job": job.id,
                "state": str(job.state),
                "file": str(args.to),
                "files": packed.files,
                "bytes": packed.bytes,
                "left_out": list(packed.left_out),
            }
        )
        return 0
    print(
        f"{args.to} holds {job.id}: {counted(packed.files, 'file')}, "
        f"{terminal.size(packed.bytes)}. It may contain secrets of the job's `env`."
    )
    for name in packed.left_out:
        print(f"  left out, not a regular file: {name}")
    if job.state == JobState.HELD:
        print(f"{job.id} stays held here. After the import elsewhere: `rekindle cancel {job.id}`.")
    return 0

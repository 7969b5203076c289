"""``rekindle retry``: run jobs again that ended or are held."""

import argparse

from rekindle.daemon.client import ask, json_text, lookup
from rekindle.state.lifecycle import TERMINAL, JobState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_jobs(parser, states={JobState.HELD, *TERMINAL})
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="begin at step 0; the checkpoints are moved to quarantine, none is deleted",
    )
    parser.add_argument(
        "--allow-change",
        action="store_true",
        help="resume although the script differs from that of the checkpoint",
    )
    parser.add_argument(
        "--new-code",
        action="store_true",
        help="run the script as it is now, not the snapshot; names the files that differ",
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_job(
        args,
        "retry",
        from_scratch=args.from_scratch,
        allow_change=args.allow_change,
        new_code=args.new_code,
    )

"""``rekindle extend``: train finished jobs for more epochs."""

import argparse

from rekindle.daemon.client import ask, json_text, lookup
from rekindle.state.lifecycle import JobState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_jobs(parser, states={JobState.DONE})
    parser.add_argument(
        "--epochs",
        type=int,
        required=True,
        metavar="N",
        help="train the last `fit` of the script up to N epochs in all",
    )
    parser.description = (
        "Train a finished job for more epochs, from the model, optimizer and data order of its "
        "end. Its script and arguments stay as they are, and so do schedules that the script has "
        "planned: the result is not that of a run of N epochs from the start, and the receipt "
        "(`rekindle show`) names what differs."
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    return ask.about_job(args, "extend", epochs=args.epochs)

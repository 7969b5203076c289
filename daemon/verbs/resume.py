"""``rekindle resume``: let a paused queue continue, or use a faulty GPU again."""

import argparse

from rekindle.daemon.client import ask, json_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpu",
        metavar="GPU",
        help="use this GPU again in spite of its faults; the queue is not changed "
        "(its number in nvidia-smi, or its UUID)",
    )
    json_text.add_argument(parser, "print the answers as JSON")


def main(args: argparse.Namespace) -> int:
    if args.gpu is not None:
        return ask.about_queue(args, "resume", gpu=args.gpu)
    return ask.about_queue(args, "resume")

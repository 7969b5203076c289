"""``rekindle resume``: a paused queue goes on, or a GPU that was set aside is used again."""

import argparse

from rekindle.daemon.client import ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpu",
        metavar="GPU",
        help="instead: use this GPU again in spite of its faults "
        "(its number as nvidia-smi shows it, or its UUID)",
    )


def main(args: argparse.Namespace) -> int:
    if args.gpu is not None:
        return ask.about_queue(args, "resume", gpu=args.gpu)
    return ask.about_queue(args, "resume")

"""``rekindle demo``: trains, kills the training twice, and compares with an undisturbed run."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    return


def main(args: argparse.Namespace) -> int:
    from rekindle.daemon.demo import demo

    return demo.main(args)

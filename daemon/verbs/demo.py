"""``rekindle demo``: train, kill the training twice, and compare with an undisturbed run."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    return


def main(args: argparse.Namespace) -> int:
    from rekindle.daemon.demo import demo

    return demo.main(args)

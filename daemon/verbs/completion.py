"""``rekindle completion``: print what makes a shell complete verbs, options and jobs."""

import argparse

from rekindle.daemon.help import completion
from rekindle.daemon.help.parser import Verbatim


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = Verbatim
    parser.description = (
        "Print what makes a shell complete verbs, options and jobs. For every new shell:\n\n"
        "  bash   echo 'source <(rekindle completion bash)' >> ~/.bashrc\n"
        "  zsh    echo 'source <(rekindle completion zsh)' >> ~/.zshrc    (after compinit)\n"
        "  fish   echo 'rekindle completion fish | source' >> ~/.config/fish/config.fish"
    )
    parser.add_argument("shell", choices=completion.SHELLS, help="the shell")


def main(args: argparse.Namespace) -> int:
    print(completion.code(args.shell))
    return 0

"""``completion``: the script that makes Tab complete verbs, jobs, runs and flags (argcomplete)."""

from __future__ import annotations

import argparse

from launcher.errors import ExitCode
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    parser.epilog = 'bash and zsh: eval "$(launcher completion bash)"; fish: launcher completion fish | source'
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    import argcomplete

    out.data(argcomplete.shellcode(["launcher"], shell=args.shell))
    return ExitCode.OK

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

    script = argcomplete.shellcode(["launcher"], shell=args.shell)
    out.json({"shell": args.shell, "script": script}) if out.json_mode else out.data(script)
    return ExitCode.OK

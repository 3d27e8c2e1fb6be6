"""``python -m bench [NAME …] [FLAG …]``: every measurement, as ratios side by side in one run; see bench/README.md."""

from __future__ import annotations

import itertools
import runpy
import sys

NAMES = ("launcher", "training", "transfer")


def main(names: list[str]) -> None:
    for name in names or NAMES:
        if name not in NAMES:
            sys.exit(f"there is no bench {name!r}; there are: {', '.join(NAMES)}")
        print(f"## {name}\n", flush=True)
        runpy.run_module(f"bench.{name}", run_name="__main__")
        print()


if __name__ == "__main__":
    main(list(itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:])))  # flags are the bench's own

"""``data``: bring, check and look at data sets."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from launcher.cli.common import add_output_flags
from launcher.errors import DataError, ExitCode, UsageError
from launcher.output import Output


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="data_verb", metavar="VERB", title="verbs", required=True)

    prepare = verbs.add_parser("prepare", help="bring a data set into a folder, verified", description=PREPARE)
    _name(prepare)
    prepare.add_argument("dest", nargs="?", metavar="DEST", help="the folder (default: the cache, shared by all runs)")
    prepare.add_argument("--source", default="", metavar="NAME", help="only this source (default: all, in turn)")
    prepare.add_argument("--force", action="store_true", help="fetch again, and replace whatever lies there")

    check = verbs.add_parser("check", help="say exactly what is wrong with a folder", description=CHECK)
    check.add_argument("path", metavar="PATH", help="the folder that would be uploaded")
    check.add_argument("--dataset", default="", metavar="NAME", help="what it should be (default: what it looks like)")

    preview = verbs.add_parser("preview", help="write a picture of samples and their labels", description=PREVIEW)
    _name(preview)
    preview.add_argument("--path", metavar="DIR", help="its folder (default: the cache, prepared if need be)")
    preview.add_argument("--split", choices=("train", "test"), default="train", help="default: train")
    preview.add_argument("--count", type=int, default=25, metavar="N", help="how many samples, 1 to 400 (default: 25)")
    preview.add_argument("--seed", type=int, default=0, metavar="N", help="draws the samples (default: 0)")
    preview.add_argument("--out", metavar="FILE.png", help="default: ./NAME-preview.png")

    known = verbs.add_parser("list", help="the known data sets, and where they are", description=LIST)
    for verb in (prepare, check, preview, known):
        add_output_flags(verb)


PREPARE = (
    "Bring a data set into DEST: from the first source that serves it, each file verified by its SHA-256 and renamed "
    "into place. What is already there and right is not fetched again. Prints the folder."
)
CHECK = (
    "Find everything that would keep a job from reading PATH, before it is uploaded: missing or misplaced files, "
    "files left packed, damaged, swapped or mixed up. Each problem comes with a line that mends it."
)
PREVIEW = "Draw samples of a data set with their labels into a PNG file, and print the file's name."
LIST = "List the known data sets: whether they are prepared, where, and how large they are."


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    if args.data_verb == "prepare":
        return _prepare(args, out)
    if args.data_verb == "check":
        return _check(args, out)
    if args.data_verb == "preview":
        return _preview(args, out)
    return _list(out)


def _name(parser: argparse.ArgumentParser) -> None:
    argument = parser.add_argument("name", metavar="NAME", help="a data set: see data list")
    argument.completer = _complete  # type: ignore[attr-defined]


def _complete(prefix: str, **_: object) -> list[str]:
    from launcher import datasets

    return [row.name for row in datasets.known() if row.name.startswith(prefix)]


def _prepare(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher import datasets
    from launcher.datasets import places

    row = datasets.get(args.name)
    folder = datasets.prepare(
        args.name, args.dest, source=args.source, force=args.force, say=out.say, progress=out.progress
    )
    stamp = places.read_stamp(row, folder) or {}
    if out.json_mode:
        out.json(
            {
                "dataset": row.name,
                "path": str(folder.absolute()),
                "source": stamp.get("source") or None,
                "bytes": row.size,
                "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in row.files],
            }
        )
    else:
        out.data(str(folder))
    return ExitCode.OK


def _check(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher import datasets

    row = datasets.get(args.dataset or datasets.guess(args.path))
    problems = datasets.check(row.name, args.path)
    official = not problems and datasets.is_official(row.name, args.path)
    if out.json_mode:
        out.json(
            {
                "path": args.path,
                "dataset": row.name,
                "ok": not problems,
                "official": official,
                "problems": [asdict(problem) for problem in problems],
            }
        )
    elif problems:
        for problem in problems:
            out.data(str(problem))
            out.data(f"    mend: {problem.mend}")
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        out.say(f"{args.path}: {count}; not a {row.title} that a job can read")
    elif official:
        out.data(f"{args.path}: the official {row.title} (the SHA-256 of every file matches)")
    else:
        out.data(f"{args.path}: well-formed, but not the official {row.title}: the files' SHA-256 differ")
    return ExitCode.ERROR if problems else ExitCode.OK


def _preview(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher import datasets
    from launcher.datasets import preview

    row = datasets.get(args.name)
    if not 1 <= args.count <= preview.MOST:
        raise UsageError(f"--count {args.count} is not between 1 and {preview.MOST}", "--count 25")
    target = Path(args.out or f"{row.name}-preview.png").expanduser()
    if args.path is None:
        ready = datasets.prepared(row.name)
        root = ready or datasets.prepare(row.name, say=out.say, progress=out.progress)
    else:
        root = Path(args.path).expanduser()
        problems = datasets.check(row.name, root)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise DataError(
                f"{args.path}: {problems[0]}{more}",
                f"python -m launcher data check {args.path} --dataset {row.name}",
            )
    samples = preview.write(row, root, target, split=args.split, count=args.count, seed=args.seed)
    if out.json_mode:
        drawn = [{"index": sample.index, "label": sample.label} for sample in samples]
        out.json({"dataset": row.name, "split": args.split, "path": str(target.absolute()), "samples": drawn})
    else:
        out.data(str(target))
    return ExitCode.OK


def _list(out: Output) -> ExitCode:
    from launcher import datasets
    from launcher.datasets import places

    rows = []
    for row in datasets.known():
        folder = datasets.prepared(row.name)
        stamp = places.read_stamp(row, folder) if folder else None
        rows.append(
            {
                "name": row.name,
                "title": row.title,
                "description": row.description,
                "prepared": folder is not None,
                "path": str(folder or places.default_dest(row)),
                "bytes": row.size,
                "source": (stamp or {}).get("source") or None,
                "sources": [source.name for source in row.sources],
                "licence": row.licence,
                "citation": row.citation,
            }
        )
    if out.json_mode:
        out.json(rows)
        return ExitCode.OK
    cells = [
        [str(r["name"]), "yes" if r["prepared"] else "no", f"{r['bytes']:,}", str(r["path"]), str(r["description"])]
        for r in rows
    ]
    out.table(["NAME", "PREPARED", "BYTES", "PATH", "WHAT"], cells)
    return ExitCode.OK

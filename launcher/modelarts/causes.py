"""Why a run failed: causes read from its exit code, its events and the end of its log. Pure, and a table.

A cause has the line that shows it. The table is in order of how near a cause is to the root: a disk that is full comes
before the exception that followed it. The texts were taken from the facts (sections 3.4 and 9) and from what MindSpore,
CANN, MoXing and the kernel print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MOST = 3
"""Causes that are told; what follows is mostly their echo."""
LONGEST = 200
"""Characters of a line of evidence."""
LONGEST_READ = 2000
"""Characters of a line that are looked at; a progress bar can be one line of megabytes."""


class Cause(NamedTuple):
    """One reason, with what shows it and what to do."""

    kind: str
    """A word for scripts: ``out-of-memory``."""
    what: str
    evidence: str
    """The line of the log, the event or the exit code it was read from."""
    hint: str

    def to_json(self) -> dict[str, str]:
        return self._asdict()


class _Rule(NamedTuple):
    kind: str
    pattern: str
    what: str
    hint: str


def cause_of(
    job: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]], log_tail: str, exit_code: int | None
) -> list[Cause]:
    """Why the run failed, the most telling cause first, at most `MOST`; empty for a run that did not.

    ``job`` is the job object as the API gave it (None: not known), ``events`` its events, ``log_tail`` the end of the
    log, some hundred lines of it.
    """
    status = (job or {}).get("status") or {}
    if exit_code is None:
        exit_code = _exit_code(status)
    phase = str(status.get("phase") or "")
    if phase in ("Completed", "Terminated") or (not phase and exit_code == 0):
        return []
    texts = [str(event.get("message") or "") for event in events]
    texts += [str(task.get("message") or "") for task in status.get("task_statuses") or ()]
    lines = [line[:LONGEST_READ] for line in (*log_tail.splitlines(), *texts) if line.strip()]
    found: dict[str, Cause] = {}
    for rule, pattern in _RULES:
        for line in lines:
            match = pattern.search(line)
            if match:
                found.setdefault(rule.kind, _cause(rule, match, line))
                break
    for cause in _by_exit_code(exit_code, phase, status):
        if not any(found_kind in found for found_kind in _IMPLIED_BY.get(cause.kind, (cause.kind,))):
            found.setdefault(cause.kind, cause)
    causes = list(found.values())
    if len(causes) > 1:  # an exception is the echo of what stands before it, and the end of a rank that of both
        causes = [cause for cause in causes if cause.kind not in _ECHOES] or causes
    return causes[:MOST]


def _exit_code(status: Mapping[str, Any]) -> int | None:
    """The first worker's that is not 0."""
    codes = [task.get("exit_code") for task in status.get("task_statuses") or ()]
    return next((code for code in codes if code), codes[0] if codes else None)


def _cause(rule: _Rule, match: re.Match[str], line: str) -> Cause:
    named = {name: value or "" for name, value in match.groupdict().items()}
    shown = line.strip()
    shown = shown if len(shown) <= LONGEST else shown[:LONGEST] + "…"
    return Cause(rule.kind, rule.what.format(**named), shown, rule.hint.format(**named))


RULES = (
    _Rule(
        "html-boot-file",
        r"<!DOCTYPE html|^\s*<html|^\s*<head>",
        "the boot file is a web page, not Python: it was saved from a browser instead of as raw text",
        "fetch the raw file anew (the Raw button, or git clone), look at its first line, and submit again",
    ),
    _Rule(
        "disk-full",
        r"No space left on device|\[Errno 28\]|Disk quota exceeded",
        "the disk of the container is full (/cache is the large one)",
        "write to $LAUNCHER_CACHE or /cache, keep fewer checkpoints, or choose a flavor with a larger disk",
    ),
    _Rule(
        "evicted",
        r"\bEvicted\b|\bevict(?:ed|ion)\b|DiskPressure|low on resource",
        "the node put the job out: its disk or memory was nearly full, maybe by others in a shared pool",
        "use less of /cache, ask for a larger flavor, or run it again: python -m launcher resubmit RUN",
    ),
    _Rule(
        "unrecognized-arguments",
        r"error: unrecognized arguments: (?P<arguments>.{1,120})",
        "the script refuses arguments that ModelArts or job.yaml give it: {arguments}",
        "declare them, or use parser.parse_known_args() in place of parse_args()",
    ),
    _Rule(
        "obs-forbidden",
        r"(?i)\bAccessDenied\b|\bstat(?:us)?['\"]?[:= ]+403\b|\b403 Forbidden"
        r"|\b(?:obs|moxing|mox|s3|esdk)\b.{0,120}\b(?:code|status|error|http)\W{0,4}403\b",
        "OBS refuses the job: the agency of ModelArts may not use that bucket, or the bucket is another account's",
        "let the agency (委托) use OBS: ModelArts console > Permission Management (权限管理) > Add Authorization"
        " (添加授权); another account's bucket must grant it by its policy",
    ),
    _Rule(
        "no-data",
        r"(?i)NoSuchBucket|The specified bucket does not exist|InvalidObsPath|Invalid obs path"
        r"|(?:download|input)[^\n]{0,80}(?:data_url|parameter name)[^\n]{0,80}fail",
        "data_url or another path of the job is not in OBS",
        "python -m launcher storage ls URL, then: python -m launcher submit JOB --data obs://BUCKET/DIR/",
    ),
    _Rule(
        "not-a-folder",
        r"(?:NotADirectoryError|Not a directory).*?(?P<path>['\"]?/\S+|$)",
        "a file lies where the script expects a folder: data_url leads one level too deep or too high",
        "compare: python -m launcher data check DATA; and give the folder, with a slash at its end",
    ),
    _Rule(
        "wrong-data-url",
        r"(?:FileNotFoundError|No such file or directory|does not exist|not exist).{0,160}?"
        r"(?P<path>/(?:home/ma-user/modelarts/inputs|cache)/\S*|(?:obs|s3)://\S+)",
        "the script looked for {path}, which is not in what data_url gave it",
        "look at the layout: python -m launcher data check DATA, python -m launcher storage ls URL; submit with --data",
    ),
    _Rule(
        "obs-as-path",
        r"(?:FileNotFoundError|No such file or directory|MoxFileNotExistsException).{0,160}?(?:s3|obs):/{1,2}",
        "the script opens an OBS URL as if it were a file",
        "copy it first (mox.file.copy_parallel), or use the folder that ModelArts gives: --contract new",
    ),
    _Rule(
        "hccl-timeout",
        r"(?i)\bhccl\b.{0,120}\b(?:time ?out|timed out)\b|\b(?:time ?out|timed out)\b.{0,120}\bhccl\b|\bEI000[26]\b"
        r"|notify.?wait.{0,60}\btime ?out\b",
        "the workers did not find each other in time (HCCL): one of them failed, hung or started late",
        "the log of the worker that ended first has the cause: python -m launcher logs RUN; if all are only slow:"
        " --env HCCL_CONNECT_TIMEOUT=3600",
    ),
    _Rule(
        "device-out-of-memory",
        r"(?i)(?:device|npu|hbm|memory pool|MemoryPool|EL0004|EL0005).{0,120}(?:out of memory|not enough|memory.{0,20}"
        r"(?:exhausted|insufficient)|alloc\w* .{0,30}fail)|Malloc device memory failed|CUDA out of memory",
        "the device's memory is too small for it",
        "make the batch smaller (--set batch_size=…), or use a network with fewer activations kept",
    ),
    _Rule(
        "out-of-memory",
        r"(?i)\bOOMKilled\b|Out of memory: Kill|oom-kill|\bMemoryError\b|Cannot allocate memory|bad_alloc",
        "the container's memory is too small for it",
        "fewer data workers, smaller batches or buffers (--set …), or a flavor with more memory",
    ),
    _Rule(
        "device-occupied",
        r"(?i)Device is occupied|device.{0,40}(?:is )?(?:occupied|busy)|drv(?:er)?Error.{0,40}occupied|EJ0001"
        r"|ret(?:urn)?.{0,10}507033",
        "another process holds the device: two processes of the job on one card, or one left from before",
        "start one process a card (DEVICE_ID tells which); if it is only one, run it again on another node: python -m"
        " launcher resubmit RUN",
    ),
    _Rule(
        "pip-offline",
        r"(?i)(?:pip|Could not fetch URL|NewConnectionError|Retrying \(Retry).{0,200}(?:Connection"
        r"|Network is unreachable|Name or service|timed out|resolve)|No matching distribution"
        r" found|Could not find a version that satisfies",
        "pip found no package: a public pool has no internet",
        "put the wheels beside the code and name them by path in pip-requirements.txt, or use a custom image",
    ),
    _Rule(
        "moxing-missing",
        r"No module named ['\"]?moxing|module ['\"]moxing['\"] has no attribute ['\"]file",
        "there is no moxing here: ModelArts' own images have it, PyPI's package of that name is something else",
        "use an engine of ModelArts, or guard the import; never list moxing in requirements",
    ),
    _Rule(
        "no-module",
        r"(?:ModuleNotFoundError|ImportError).{0,20}No module named ['\"]?(?P<name>[\w.]+)",
        "the image has no Python module {name}",
        "if it is yours, add it to code: include in job.yaml; else name it in pip-requirements.txt by the boot file",
    ),
    _Rule(
        "permission",
        r"PermissionError|\[Errno 13\]|Permission denied",
        "the job's user (uid 1000, in some images 1102) may not write there",
        "write below $HOME, /cache or train_url only; links are not allowed either",
    ),
    _Rule(
        "copy-broken",
        r"BrokenPipeError|Unable to connect to endpoint|ConnectionResetError|MoxFileReadException|MoxFileRespException",
        "the connection to OBS broke while the job copied",
        "write to a local folder and copy at the end; many small files as one archive; then resubmit with --resume RUN",
    ),
    _Rule(
        "graph-compile",
        r"\bE[1-4Z][0-9]{4}: |TBE.{0,40}(?:fail|error)|operator.{0,40}not support|Unsupported op",
        "CANN could not compile or run an operator of the network",
        "python -m launcher pull RUN --logs brings the plog files; the first ERROR in them names the operator",
    ),
    _Rule(
        "not-a-number",
        r"(?i)\bloss\b\W{0,12}(?:is\W{1,4})?(?:nan|inf)\b"
        r"|\b(?:nan|inf) (?:loss|detected|found)|overflow.{0,40}loss ?scale.{0,30}min",
        "the loss is not a number any more",
        "a smaller learning rate (--set lr=…), loss scaling, or look for broken samples: python -m launcher data check",
    ),
    _Rule(
        "log-cut",
        r"(?i)log.{0,60}(?:exceed|reached|larger).{0,40}(?:1073741824|1 ?GB|limit)",
        "the log is longer than 1 GB, so its end is missing",
        "print less often",
    ),
    _Rule(
        "quota",
        r"(?i)insufficient (?:resource|quota)|quota.{0,30}exceed|arrears|欠费",
        "the account's quota or credit is used up",
        "console > Billing Center (费用中心), and console > Resources > My Quotas (资源 > 我的配额)",
    ),
    _Rule(
        "syntax",
        r"^\s*(?:SyntaxError|IndentationError|TabError)\b",
        "the code does not compile with the image's Python, which may be 3.7",
        "python -m compileall on the code; keep to what Python 3.7 reads",
    ),
    _Rule(
        "exception",
        r"^\s*(?P<name>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt))\b(?::|$)",
        "the script ended with {name}",
        "python -m launcher logs RUN --tail 200 has the traceback; try it here: python -m launcher submit JOB",
    ),
    _Rule(
        "rank-ended",
        r"proc-rank-(?P<rank>\d+)-device-(?P<device>\d+)\b.{0,60}has exited",
        "rank {rank} (card {device} of its node) ended, so the platform ended the others",
        "its last lines say why; each card's own log: python -m launcher pull RUN --logs",
    ),
)  # fmt: skip
_ECHOES = ("exception", "rank-ended")
_RULES = tuple((rule, re.compile(rule.pattern)) for rule in RULES)

EXIT_CODES: dict[int, tuple[str, str, str]] = {
    137: (
        "out-of-memory",
        "the job was killed (137), most often for using too much memory",
        "fewer data workers, smaller batches or buffers (--set …), or a flavor with more memory",
    ),
    139: (
        "segfault",
        "the process crashed (139, segmentation fault): mostly packages that do not fit the image",
        "take numpy, mindspore and the like out of pip-requirements.txt; the image has its own",
    ),
    143: ("terminated", "the job was asked to end (143, SIGTERM): stopped, preempted, or its node had a fault",
          "python -m launcher show RUN has the events; go on with: python -m launcher submit JOB --resume RUN"),
    124: ("time-limit", "the job ran into its time limit (124)", "a longer --time-limit, or go on with --resume RUN"),
    126: ("no-command", "the start command cannot be executed (126)", "look at the command and the image in job.yaml"),
    127: ("no-command", "the start command was not found (127)", "look at the command and the image in job.yaml"),
    2: ("usage", "the script refused its arguments (exit code 2)",
        "python -m launcher logs RUN --tail 50 has its usage; use parser.parse_known_args()"),
}  # fmt: skip
_SAME = {247: 137, -9: 137, 265: 137, 245: 139, -11: 139, 267: 139, -15: 143, 241: 143}
"""Other numbers of the same ends: ModelArts says 247 for 137 (OTC user manual); minus the signal, as a byte."""
_IMPLIED_BY = {
    "out-of-memory": ("out-of-memory", "device-out-of-memory", "evicted"),
    "usage": ("usage", "unrecognized-arguments"),
    "unexplained": tuple(rule.kind for rule in RULES),
}
"""Exit code's cause -> causes of the log that say the same better."""


def _by_exit_code(exit_code: int | None, phase: str, status: Mapping[str, Any]) -> Iterator[Cause]:
    code = _SAME.get(exit_code, exit_code) if exit_code is not None else None
    if code in EXIT_CODES:
        kind, what, hint = EXIT_CODES[code]
        yield Cause(kind, what, f"exit code {exit_code}", hint)
    elif phase == "Abnormal":
        what = "ModelArts could not bring the job up; the script never ran"
        evidence = str(status.get("secondary_phase") or phase)
        yield Cause("not-created", what, evidence, "python -m launcher show RUN has the events; then submit it again")
    elif code:
        what = f"the script ended with exit code {exit_code}, and its log does not say why"
        yield Cause("unexplained", what, f"exit code {exit_code}", "python -m launcher logs RUN --tail 200")

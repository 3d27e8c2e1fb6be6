"""What was measured, as tables, and against the targets."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.transfer.measure import Measured

HASHES: dict[str, dict[str, str]] = {
    "up": {
        "s5cmd": "MD5, SHA-256",
        "rclone": "MD5",
        "minio-py": "SHA-256",
        "boto3": "CRC-32, SHA-256",
        "boto3 CRT": "CRC-32",
    },
    "down": {"rclone": "MD5"},
}
"""What each peer computes over the bytes by default, over plain HTTP: see README.md, which says how that was found."""
RCLONE_IN_PARTS = 256 << 20
"""Bytes from which rclone fetches parts of a file at once, and hashes nothing."""
PEERS = ("s5cmd", "rclone", "minio-py", "boto3", "boto3 CRT")
MEMORY_MB = 200.0


@dataclass(frozen=True)
class Row:
    """One client in one case."""

    client: str
    rounds: tuple[Measured, ...]

    @property
    def error(self) -> str:
        """Of the last round; an error ends them."""
        return self.rounds[-1].error

    @property
    def best(self) -> Measured:
        """The quickest round, with the highest peak of all."""
        least = min(self.rounds, key=lambda measured: measured.seconds)
        return Measured(least.seconds, least.cpu, max(measured.peak for measured in self.rounds))

    @property
    def median(self) -> Measured:
        """Of each figure by itself."""
        return Measured(
            statistics.median(measured.seconds for measured in self.rounds),
            statistics.median(measured.cpu for measured in self.rounds),
            max(measured.peak for measured in self.rounds),
        )


@dataclass(frozen=True)
class Case:
    """One table."""

    title: str
    kind: str
    way: str
    port: str
    files: int
    bytes: int
    rows: Sequence[Row]

    def of(self, client: str) -> Row | None:
        """What the client took, if it was tried and did it."""
        return next((row for row in self.rows if row.client == client and not row.error), None)


def show(case: Case) -> None:
    """One table: best and median, the rate, and how many times that of s5cmd."""
    unit = "MB/s" if case.kind in ("middle", "large") else "files/s"
    amount = case.bytes / 1e6 if unit == "MB/s" else case.files
    reference = case.of("s5cmd")
    print(f"### {case.title}\n\n| client | s | median | {unit} | x s5cmd | CPU s | median | peak MB | hashes |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in case.rows:
        if row.error:
            lines = [line for line in row.error.splitlines() if line.strip()]
            print(f"| {row.client} | – | | failed: {lines[-1][:100] if lines else '?'} | | | | | |")
            continue
        best, median = row.best, row.median
        ratio = f"{reference.best.seconds / best.seconds:.2f}" if reference else ""
        print(
            f"| {row.client} | {best.seconds:.2f} | {median.seconds:.2f} | {amount / best.seconds:,.0f} | {ratio} "
            f"| {best.cpu:.2f} | {median.cpu:.2f} | {best.peak:.0f} | {_hashed(case, row.client)} |"
        )
    print()


def verdicts(cases: Sequence[Case]) -> Iterator[str]:
    """Each target with what was reached, by the best rounds and by the medians; the best ones decide. Rows without a
    target are there to be read beside the others."""
    yield "| target | best | median | |\n|---|---|---|---|"
    for case in cases:
        if case.kind == "small":
            yield from _small(case)
        elif case.kind == "sync":
            yield from _sync(case)
        else:
            yield from _bulk(case)
    ours = [row for case in cases for row in case.rows if row.client.startswith("ours") and not row.error]
    if ours:
        peak = max(row.best.peak for row in ours)
        yield _line("our peak memory under 200 MB everywhere", f"{peak:.0f} MB", "", peak < MEMORY_MB)


def _small(case: Case) -> Iterator[str]:
    wanted: dict[str, dict[str, float]] = {
        "plain": {"ours packed": 1.5},
        "tls": {"ours": 4.0},
        "slow": {"ours": 1.0, "ours packed": 5.0},
    }
    for client, factor in wanted[case.port].items():
        yield from _ratio(case, client, "s5cmd", factor)


def _bulk(case: Case) -> Iterator[str]:
    """1.3 times the fastest peer that also hashes every byte, and near one core's MD5. Where no peer hashes, the second
    is the target; peers that do less than we do are shown beside."""
    peers = sorted((name for name in PEERS if case.of(name)), key=lambda name: case.of(name).best.seconds)  # type: ignore[union-attr]
    hashing = [name for name in peers if "MD5" in _hashed(case, name) or "SHA" in _hashed(case, name)]
    if hashing:
        yield from _ratio(case, "ours", hashing[0], 1.3, " (the fastest that also hashes)")
    ours = case.of("ours")
    if ours:
        bound = case.bytes / 1e6 / md5_speed()
        best, median = ours.best.seconds / bound, ours.median.seconds / bound
        none = "" if hashing else "; no peer hashes this"
        named = f"{case.title}: within 1.5 x one core's MD5 ({bound:.2f} s{none})"
        yield _line(named, f"{best:.2f} x", f"{median:.2f} x", best < 1.5)
    if peers and peers[0] not in hashing:
        computed = _hashed(case, peers[0]).replace("–", "nothing")
        yield from _ratio(case, "ours", peers[0], 0, f" (the fastest of all; it computes {computed} over the bytes)")


def _sync(case: Case) -> Iterator[str]:
    ours = case.of("ours")
    if ours:
        best, median = ours.best.seconds, ours.median.seconds
        yield _line(f"{case.title}: within 1 s", f"{best:.2f} s", f"{median:.2f} s", best <= 1)
    for peer in ("s5cmd", "rclone"):
        yield from _ratio(case, "ours", peer, 10)


def _hashed(case: Case, client: str) -> str:
    """What it computes over the bytes; a dash for nothing."""
    if client.startswith("ours"):
        return "SHA-256"
    if client == "rclone" and case.way == "down" and case.bytes / case.files > RCLONE_IN_PARTS:
        return "–"
    return HASHES.get(case.way, {}).get(client, "–")


def _ratio(case: Case, client: str, peer: str, factor: float, why: str = "") -> Iterator[str]:
    """How many times as fast as the peer; a `factor` of 0 is no target."""
    ours, theirs = case.of(client), case.of(peer)
    if ours and theirs:
        best = theirs.best.seconds / ours.best.seconds
        median = theirs.median.seconds / ours.median.seconds
        named = f"{client} at least {factor} x {peer}" if factor else f"{client} beside {peer}"
        yield _line(
            f"{case.title}: {named}{why}", f"{best:.2f} x", f"{median:.2f} x", best >= factor if factor else None
        )


def _line(target: str, best: str, median: str, met: bool | None) -> str:
    word = {True: "met", False: "**missed**", None: "no target"}[met]
    return f"| {target} | {best} | {median} | {word} |"


def md5_speed(clock: Callable[[], float] = time.perf_counter) -> float:
    """MB/s of one core."""
    data = bytes(8 << 20)
    least = float("inf")
    for _ in range(5):
        begun = clock()
        hashlib.md5(data, usedforsecurity=False)
        least = min(least, clock() - begun)
    return len(data) / 1e6 / least

"""What was measured, as tables, and against the targets."""

from __future__ import annotations

import hashlib
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
    measured: Measured


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

    def of(self, client: str) -> Measured | None:
        """What the client took, if it was tried and did it."""
        return next((row.measured for row in self.rows if row.client == client and not row.measured.error), None)


def show(case: Case) -> None:
    """One table: the rate, and how many times that of s5cmd."""
    unit = "MB/s" if case.kind in ("middle", "large") else "files/s"
    amount = case.bytes / 1e6 if unit == "MB/s" else case.files
    reference = case.of("s5cmd")
    print(f"### {case.title}\n\n| client | s | {unit} | x s5cmd | CPU s | peak MB | hashes |")
    print("|---|---|---|---|---|---|---|")
    for row in case.rows:
        found = row.measured
        if found.error:
            lines = [line for line in found.error.splitlines() if line.strip()]
            print(f"| {row.client} | – | failed: {lines[-1][:100] if lines else '?'} | | | | |")
            continue
        ratio = f"{reference.seconds / found.seconds:.2f}" if reference else ""
        print(
            f"| {row.client} | {found.seconds:.2f} | {amount / found.seconds:,.0f} | {ratio} | {found.cpu:.2f} "
            f"| {found.peak:.0f} | {_hashed(case, row.client)} |"
        )
    print()


def verdicts(cases: Sequence[Case]) -> Iterator[str]:
    """Each target with what was reached."""
    yield "| target | reached | |\n|---|---|---|"
    for case in cases:
        if case.kind == "small":
            yield from _small(case)
        elif case.kind == "sync":
            yield from _sync(case)
        else:
            yield from _bulk(case)
    peaks = [row.measured.peak for case in cases for row in case.rows if row.client.startswith("ours")]
    if peaks:
        yield _line("our peak memory under 200 MB everywhere", f"{max(peaks):.0f} MB", max(peaks) < MEMORY_MB)


def _small(case: Case) -> Iterator[str]:
    wanted: dict[str, dict[str, float]] = {
        "plain": {"ours packed": 1.5},
        "tls": {"ours": 4.0},
        "slow": {"ours": 1.0, "ours packed": 5.0},
    }
    for client, factor in wanted[case.port].items():
        yield from _ratio(case, client, "s5cmd", factor)


def _bulk(case: Case) -> Iterator[str]:
    """Against the fastest peer that hashes every byte as well; where none does, against the fastest of all, which is
    more than was asked for."""
    peers = [name for name in PEERS if case.of(name)]
    hashing = [name for name in peers if "MD5" in _hashed(case, name) or "SHA" in _hashed(case, name)]
    named = [(_fastest(case, hashing), "the fastest that hashes too")] if hashing else []
    if peers and not hashing:
        named = [(_fastest(case, peers), "the fastest; no peer hashes that")]
    for name, what in named:
        yield from _ratio(case, "ours", name, 1.3, f" ({what})")
    ours = case.of("ours")
    if ours:
        bound = case.bytes / 1e6 / md5_speed()
        yield _line(
            f"{case.title}: within 1.5 x one core's MD5 ({bound:.2f} s)",
            f"{ours.seconds / bound:.2f} x",
            ours.seconds < 1.5 * bound,
        )


def _sync(case: Case) -> Iterator[str]:
    ours = case.of("ours")
    if ours:
        yield _line(f"{case.title}: within 1 s", f"{ours.seconds:.2f} s", ours.seconds <= 1)
    for peer in ("s5cmd", "rclone"):
        yield from _ratio(case, "ours", peer, 10)


def _fastest(case: Case, names: Sequence[str]) -> str:
    return min(names, key=lambda name: case.of(name).seconds)  # type: ignore[union-attr]


def _hashed(case: Case, client: str) -> str:
    """What it computes over the bytes; a dash for nothing."""
    if client.startswith("ours"):
        return "SHA-256"
    if client == "rclone" and case.way == "down" and case.bytes / case.files > RCLONE_IN_PARTS:
        return "–"
    return HASHES.get(case.way, {}).get(client, "–")


def _ratio(case: Case, client: str, peer: str, factor: float, why: str = "") -> Iterator[str]:
    ours, theirs = case.of(client), case.of(peer)
    if ours and theirs:
        reached = theirs.seconds / ours.seconds
        yield _line(f"{case.title}: {client} at least {factor} x {peer}{why}", f"{reached:.2f} x", reached >= factor)


def _line(target: str, reached: str, met: bool) -> str:
    return f"| {target} | {reached} | {'met' if met else '**missed**'} |"


def md5_speed(clock: Callable[[], float] = time.perf_counter) -> float:
    """MB/s of one core."""
    data = bytes(8 << 20)
    least = float("inf")
    for _ in range(5):
        begun = clock()
        hashlib.md5(data, usedforsecurity=False)
        least = min(least, clock() - begun)
    return len(data) / 1e6 / least

"""``rm`` and ``rb``: what goes is found first and shown, then removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import UsageError
from launcher.objects.engine import Spot, Stores, delete_all, is_tree, uncommit
from launcher.objects.errors import STORAGE
from launcher.objects.listing import Seen
from launcher.objects.names import Remote, matches, nothing_at, stat, url
from launcher.objects.report import Action, Report
from storage.manifest import manifest_key


@dataclass
class Removal:
    """What an ``rm`` will remove."""

    spots: list[Spot]
    bytes: int
    whole: list[str]
    """Buckets that will be empty."""


def plan(places: Sequence[Remote], stores: Stores, recursive: bool, everything: bool, seen: Seen) -> Removal:
    """Find it all. UsageError for a folder without ``recursive``, or a whole bucket without ``everything``."""
    removal = Removal([], 0, [])
    known: set[Spot] = set()

    def add(place: Remote, key: str, size: int) -> None:
        spot = Spot(key, place.bucket)
        if spot not in known:
            known.add(spot)
            removal.spots.append(spot)
            removal.bytes += size

    for place in places:
        storage = stores[place.bucket]
        if not place.key:
            if not (recursive and everything):
                hint = f"{STORAGE} rm -r --all {place}; the bucket itself: {STORAGE} rb {place}"
                raise UsageError(f"{place} is a whole bucket", hint)
            removal.whole.append(place.bucket)
        info = stat(storage, place.key) if place.key and not place.folder else None
        if info is not None:
            seen(1)
            add(place, info.key, info.size)
            continue
        if place.pattern:
            listing = matches(storage, place)
        else:
            listing = storage.list(place.prefix)
        before = len(known)
        for entry in listing:
            if not recursive and not place.pattern:
                raise UsageError(f"{place} is a folder", f"{STORAGE} rm -r {place}")
            seen(1)
            add(place, entry.key, entry.size)
        if len(known) == before and place.key and not any(spot.bucket == place.bucket for spot in known):
            raise nothing_at(place)
        if place.key and not place.pattern and is_tree(storage, place.key):
            add(place, manifest_key(place.key), 0)
    return removal


def remove(removal: Removal, stores: Stores, report: Report) -> None:
    """Carry it out, or note it down when it is a dry run."""
    report.files = len(removal.spots)
    if report.dry_run:
        report.actions += [Action("delete", str(spot)) for spot in removal.spots]
        return
    manifests = uncommit(stores, removal.spots)  # first: what is half removed must not look whole
    gone = {manifest for manifest in manifests if any(str(spot) == manifest for spot in removal.spots)}
    report.deleted += len(gone)
    delete_all((spot for spot in removal.spots if str(spot) not in gone), stores, report)


def in_words(removal: Removal) -> str:
    """What a person is asked to agree to."""
    whole = "".join(f", all of {url(bucket, '')}" for bucket in removal.whole)
    count = len(removal.spots)
    return f"{count:,} object{'s' if count != 1 else ''}{whole}"

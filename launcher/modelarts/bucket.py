"""Whether a place's bucket can be used by us, and by jobs in its region."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from launcher.checks import Check
from launcher.modelarts.place import Place
from storage.errors import AccessDenied, NotFound, StorageError
from storage.urls import is_remote

if TYPE_CHECKING:
    from launcher.jobs import Job
    from storage.obs import ObsService


def check_bucket(place: Place) -> Iterable[Check]:
    """There, ours, in the region; and a small object goes there and comes back."""
    if not place.bucket:
        yield Check("bucket", "fail", "none is named", "python -m launcher config init --bucket NAME")
        return
    from storage.obs import ObsService

    service = ObsService(place.obs)
    url = f"obs://{place.bucket}"
    try:
        try:
            answer = service.channel.call(f"cannot look at {url}", "list", "getBucketMetadata", place.bucket)
        except NotFound as error:
            yield Check(
                "bucket", "fail", error.message, f"python -m launcher storage mb {url} --storage obs", "NoSuchBucket"
            )
            return
        except StorageError as error:
            yield _of_storage("bucket", _reason(service, place, error))
            return
        yield _region(place, str(getattr(answer.body, "location", "") or ""))
        yield from _objects(service.bucket(place.bucket), place, url)
    finally:
        service.close()


def check_data(place: Place, job: Job | None) -> Iterable[Check]:
    """Whether something lies where the job's data is to be used in place."""
    url = (job.spec.data if job else None) or ""
    if not is_remote(url):
        return
    from storage.obs import ObsService

    bucket, _, key = url.partition("://")[2].partition("/")
    service = ObsService(place.obs)
    try:
        first = next(iter(service.bucket(bucket).list(key.rstrip("/") + "/" if key.strip("/") else "")), None)
    except StorageError as error:
        yield _of_storage("data", error)
        return
    finally:
        service.close()
    if first is None:
        yield Check(
            "data", "fail", f"there is nothing at {url}", f"python -m launcher storage ls obs://{bucket}/ --storage obs"
        )
    else:
        yield Check("data", "ok", f"{url} is there, and can be read")


def _reason(service: ObsService, place: Place, error: StorageError) -> StorageError:
    """Why the bucket is refused: an answer to HEAD has no body, one to a listing says it."""
    try:
        next(iter(service.bucket(place.bucket).list(f"{place.root}/doctor/")), None)
    except StorageError as said:
        return said
    return error


def _region(place: Place, location: str) -> Check:
    url = f"obs://{place.bucket}"
    if location and place.region and location != place.region:
        hint = f"make one in {place.region}: python -m launcher config init --bucket NAME; or --region {location}"
        return Check("bucket", "fail", f"{url} is in {location}, ModelArts in {place.region}: jobs cannot use it", hint)
    return Check("bucket", "ok", f"{url} is there" + (f", in {location}" if location else ""))


def _objects(bucket: Any, place: Place, url: str) -> Iterable[Check]:
    """Write, read back, remove: what a submit does, with a few bytes."""
    key = f"{place.root}/doctor/{os.urandom(8).hex()}"
    content = os.urandom(64)
    try:
        bucket.write(key, content)
        try:
            with bucket.read(key) as stream:
                same = stream.read() == content
        finally:
            bucket.delete([key])
    except StorageError as error:
        yield _of_storage("objects", error)
        return
    if same:
        yield Check("objects", "ok", f"written to {url}/{place.root}/, read back, removed")
    else:
        yield Check("objects", "fail", f"{url} gave back other bytes than were written", "look at the proxy in between")


def _of_storage(name: str, error: StorageError) -> Check:
    hint = error.hint
    if isinstance(error, AccessDenied) and "arrears" not in hint:
        hint = f"{hint}; OBS console (对象存储服务) > the bucket > Permissions (访问权限控制)"
    return Check(name, "fail", " ".join(error.message.split()), hint)

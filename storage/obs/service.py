"""The buckets of one OBS account."""

from __future__ import annotations

from typing import Any, Iterator, List, Optional

from ..errors import AccessDenied, Conflict, NotFound, StorageError
from ..retry import patiently
from ..service import Bucket, Leftover, Service
from ..urls import check_bucket, check_key
from . import multipart
from .answers import seconds
from .bucket import ObsStorage
from .channel import Channel
from .settings import ObsSettings


class ObsService(Service):
    """See `Service`. Connections, keys and memory budget are shared by all its buckets."""

    def __init__(self, settings: Optional[ObsSettings] = None) -> None:
        self.channel = Channel(settings if settings is not None else ObsSettings.from_environment())

    def close(self) -> None:
        """Close kept connections; they are opened again as needed."""
        self.channel.close()

    def buckets(self) -> List[Bucket]:
        page = self.channel.content("cannot list the buckets", "list buckets", "listBuckets")
        found = [
            Bucket(item.name, _created(item), getattr(item, "location", None) or "") for item in page.buckets or ()
        ]
        return sorted(found, key=lambda bucket: bucket.name)

    def make_bucket(self, name: str, region: str = "", public_read: bool = False) -> None:
        check_bucket(name)
        from obs import CreateBucketHeader, HeadPermission

        what = f"cannot make obs://{name}"
        self._refuse_taken(name, what)
        header = CreateBucketHeader(
            aclControl=HeadPermission.PUBLIC_READ if public_read else HeadPermission.PRIVATE, storageClass="STANDARD"
        )
        region = region or self.channel.settings.region
        self.channel.call(what, "make bucket", "createBucket", name, header=header, location=region or None)

    def remove_bucket(self, name: str) -> None:
        check_bucket(name)
        what = f"cannot remove obs://{name}"
        if next(self.bucket(name).list(), None) is not None:  # not every store checks that itself
            raise Conflict(
                f"{what}: it is not empty", f"empty it first: `python -m launcher storage rm -r obs://{name}`"
            )
        self.channel.call(what, "remove bucket", "deleteBucket", name)

    def bucket(self, name: str) -> ObsStorage:
        return ObsStorage(self.channel, check_bucket(name))

    def presign(self, bucket: str, key: str, seconds: int, method: str = "GET") -> str:
        check_key(key)
        patiently(self.channel.credentials.current)
        answer = self.channel.sdk.createSignedUrl(method, check_bucket(bucket), key, expires=seconds)
        return str(answer.signedUrl)

    def leftovers(self, bucket: str, prefix: str = "") -> Iterator[Leftover]:
        from obs import ListMultipartUploadsRequest

        storage = self.bucket(bucket)
        key: Optional[str] = None
        upload: Optional[str] = None
        while True:
            request = ListMultipartUploadsRequest(
                prefix=prefix or None, max_uploads=1000, key_marker=key, upload_id_marker=upload
            )
            what = f"cannot list the unfinished uploads of obs://{bucket}"
            page = self.channel.content(
                what, "list uploads", "listMultipartUploads", bucket, request, encoding_type="url"
            )
            for item in page.uploads:
                if item.key.startswith(prefix):
                    try:
                        size = multipart.bytes_of(storage, item.key, item.id)
                    except NotFound:  # it has ended meanwhile
                        continue
                    yield Leftover(item.key, item.id, item.started, size)
            if not page.is_truncated or (page.next_key, page.next_id) == (key, upload):
                return
            key, upload = page.next_key, page.next_id

    def discard(self, bucket: str, leftover: Leftover) -> None:
        what = f"cannot end the upload of obs://{bucket}/{leftover.key}"
        try:
            self.channel.call(what, "write", "abortMultipartUpload", bucket, leftover.key, leftover.id)
        except NotFound:
            return

    def _refuse_taken(self, name: str, what: str) -> None:
        try:
            self.channel.call(what, "list", "headBucket", name)
        except NotFound:
            return
        except AccessDenied as error:
            raise Conflict(
                f"{what}: someone else has a bucket of that name",
                "bucket names are shared by all accounts: choose another",
            ) from error
        except StorageError:
            raise
        raise Conflict(f"{what}: you have it already", "use it as it is")


def _created(item: Any) -> float:
    text = str(getattr(item, "create_date", "") or "")
    return seconds(text.replace("/", "-").replace(" ", "T"))

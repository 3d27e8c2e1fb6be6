"""The object store as the platform sees it: what is there, presigned URLs, and temporary keys for jobs."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from storage.errors import AccessDenied, Conflict, InvalidUrl, NotFound, StorageError, UnsafeKey
from storage.obs import ObsService, ObsSettings
from storage.urls import check_bucket, check_prefix

from .errors import ApiError, bad_path

if TYPE_CHECKING:
    from launcher.emulator.obs import ObsServer

LINK_SECONDS = 300
"""How long a log's URL is good for (OTC API reference: 5 minutes)."""


def place_of(url: str) -> tuple[str, str]:
    """Bucket and key of `/bucket/key`, `obs://bucket/key` or `s3://bucket/key`: 2791 for anything else."""
    if url.startswith(("obs://", "s3://")):
        rest = url.partition("://")[2]
    elif url.startswith("/") and not url.startswith("//"):
        rest = url[1:]
    else:
        raise bad_path(url, "it must start with a slash or obs://")
    bucket, _, key = rest.partition("/")
    try:
        check_bucket(bucket)
    except InvalidUrl:
        raise bad_path(url, "the bucket's name is not valid") from None
    try:
        check_prefix(key)
    except UnsafeKey as error:
        raise bad_path(url, error.message) from None
    return bucket, key


class Objects:
    """The account's object store. `server` is ours where we run it: then jobs get keys of their own."""

    def __init__(self, settings: ObsSettings, server: ObsServer | None = None) -> None:
        self.settings = settings
        self._server = server
        self._service = ObsService(settings)

    def close(self) -> None:
        self._service.close()

    def make_bucket(self, name: str) -> None:
        """Make it unless it is there."""
        try:
            self._service.make_bucket(name)
        except Conflict as error:
            if "you have it already" not in error.message:
                raise

    def has(self, bucket: str, prefix: str, any_will_do: bool = False) -> bool:
        """Whether something is there below a prefix; with `any_will_do` an empty bucket is fine."""
        try:
            found = next(self._service.bucket(bucket).list(prefix), None)
        except (NotFound, AccessDenied, UnsafeKey):
            return False
        except StorageError as error:
            raise ApiError("ModelArts.0010", f"Internal error: {error.message}") from error
        return any_will_do or found is not None

    def is_object(self, bucket: str, key: str) -> bool:
        """Whether exactly that key is an object."""
        try:
            self._service.bucket(bucket).stat(key)
        except StorageError:
            return False
        return True

    def tree(self, url: str, most: int = 5000) -> list[tuple[str, int]]:
        """(key, bytes) of what lies below a folder, folder markers left out; at most so many."""
        bucket, prefix = place_of(url)
        found: list[tuple[str, int]] = []
        try:
            for info in self._service.bucket(bucket).list(prefix):
                if not info.key.endswith("/"):
                    found.append((info.key, info.size))
                if len(found) > most:
                    break
        except (NotFound, AccessDenied, UnsafeKey):
            return []
        except StorageError as error:
            raise ApiError("ModelArts.0010", f"Internal error: {error.message}") from error
        return found

    def read(self, url: str) -> bytes | None:
        """An object whole, None where there is none."""
        bucket, key = place_of(url)
        try:
            with self._service.bucket(bucket).read(key) as stream:
                return stream.read()
        except StorageError:
            return None

    def write(self, url: str, data: bytes) -> None:
        bucket, key = place_of(url)
        self._service.bucket(bucket).write(key, data)

    def link(self, url: str) -> str:
        """A URL that anybody can read the object by, for five minutes."""
        bucket, key = place_of(url)
        return self._service.presign(bucket, key, LINK_SECONDS)

    def lend(self, seconds: float = 0) -> list[str]:
        """A new access key, secret key and token, good for so long or until they are dismissed. They open the object
        store if it is ours; another one knows nothing of them."""
        keys = ["HST" + secrets.token_hex(8).upper(), secrets.token_hex(20), secrets.token_hex(48)]
        if self._server is not None:
            from launcher.emulator.obs import Account

            expires = time.time() + seconds if seconds else 0
            self._server.accounts[keys[0]] = Account(keys[1], token=keys[2], expires=expires)
        return keys

    def dismiss(self, keys: list[str]) -> None:
        """A job is over: its keys open nothing any more."""
        if self._server is not None and keys:
            self._server.accounts.pop(keys[0], None)

    def environment(self, keys: list[str]) -> dict[str, str]:
        """The variables by which `storage.obs` reaches this store: with those keys, or the account's where it is not
        ours. The account's are written down nowhere."""
        settings = self.settings
        if self._server is None:
            keys = [settings.access_key, settings.secret_key, settings.token]
        found = {
            "OBS_ENDPOINT": settings.url,
            "OBS_REGION": settings.region,
            "OBS_SIGNATURE": settings.signed_as,
            "OBS_ADDRESSING": "path" if settings.path_style else "host",
            "OBS_CHECKSUM": settings.checked_by,
            "OBS_CA_FILE": settings.ca_file,
            "OBS_ACCESS_KEY_ID": keys[0],
            "OBS_SECRET_ACCESS_KEY": keys[1],
            "OBS_SECURITY_TOKEN": keys[2],
        }
        return {name: value for name, value in found.items() if value}

"""A small OBS over folders of buckets: object store of the emulated ModelArts, and fault injector of the tests.

    with ObsServer(Path("buckets"), accounts={"AK": Account("SK")}) as server:
        ...  # server.endpoint

`python -m launcher.emulator.obs` runs one as a process. What it keeps to, and where it is not OBS:

- Objects are what `storage.filesystem` holds. A key that it refuses (`a//b`, `./x`, control characters) is answered
  with 400 InvalidArgument, and `a` beside `a/b` with 409 FileConflict; OBS takes both. A key that ends with a slash is
  held, in the index, if it has no bytes.
- Signatures are those of OBS and of AWS version 2, in headers and in URLs. AWS version 4 is refused.
- A bucket's `public-read` lets everyone list it, `public-read-delivered` also read its objects, an object's
  `public-read` read that one. There are no policies, versions, life cycles or other regions.
- Making a bucket that one has already answers 200 and changes nothing; with another location it is 409
  BucketAlreadyOwnedByYou.
- There is no `x-obs-checksum-crc64ecma`: a CRC in pure Python would take longer than the transfer.
- AppendObject copies what is there. Its answer's ETag, as every ETag here, is that of the whole object.
"""

from __future__ import annotations

from .faults import Fault, Faults, Kind
from .server import ObsServer
from .signature import Account

__all__ = ["Account", "Fault", "Faults", "Kind", "ObsServer"]

"""Copies of whole trees: plan, transfer in parallel, verify, commit.

A tree in storage is committed by its manifest, `<prefix>.manifest.json`, written last: without it the tree does not
exist, and the next upload completes it. Progress goes to a callback, in bytes of the tree that are where
they should be, sent or not; it is called from worker threads, one at a time, and what it raises stops the transfer.
Nothing prints.

    upload_tree     a folder whose manifest is known           storage.sending
    send_tree       a folder of which nothing is known yet     storage.sending
    download_tree   a tree, or whatever lies at a prefix       storage.receiving
    sync_tree       what a live job writes, again and again    storage.sync

Very many small files can be packed on the way: see `storage.packing`.

In flight are at most `storage.workers` files at once, and as many as the work has use for (`storage.parallel`). Memory
of every function here: 1 MiB for each of these, unless the back end says less, and about 0.5 KiB for each file of the
tree (its manifest). Errors are StorageErrors. The first one stops the other workers at their next megabyte, or while
they wait to try again, and so does KeyboardInterrupt; what has arrived whole stays and is not sent again. A tree of
thousands of small files in OBS is shared with worker processes (`storage.processes`), under the same promises.
"""

from __future__ import annotations

from .receiving import download_tree
from .sending import send_tree, upload_tree
from .sync import SyncResult, known_tree, sync_tree
from .tally import TransferResult

__all__ = ["SyncResult", "TransferResult", "download_tree", "known_tree", "send_tree", "sync_tree", "upload_tree"]

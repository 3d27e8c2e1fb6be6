"""A wrapper that tries again, and looks at the target afterwards."""

import argparse
import os

import moxing as mox


def mox_adapter(src_url, dst_url, retry=3, retry_time=5):
    for attempt in range(retry):
        try:
            mox.file.copy_parallel(src_url, dst_url, threads=16, is_processing=False)
            if mox.file.exists(dst_url):
                return True
        except Exception as error:
            print("copy failed, attempt", attempt, "of", retry, "waiting", retry_time, error)
    return False


parser = argparse.ArgumentParser()
parser.add_argument("--data_url")
parser.add_argument("--train_url")
args = parser.parse_known_args()[0]
local = os.path.join(os.getcwd(), "work")
assert mox_adapter(args.data_url, local)
assert not mox_adapter(args.data_url.rstrip("/") + "-missing/", "nowhere")
assert mox_adapter(os.path.join(local, "train"), args.train_url.rstrip("/") + "/again")

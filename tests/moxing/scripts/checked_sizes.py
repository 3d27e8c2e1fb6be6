"""Sizes compared on both ends, with the flag that folders of OBS need."""

import argparse
import os

import moxing as mox
from moxing.framework.file import file_io

mox.file.set_auth(is_secure=False)
os.environ["MOX_FILE_LARGE_FILE_TASK_NUM"] = "1"
file_io._NUMBER_OF_PROCESSES = 1
file_io._LARGE_FILE_METHOD = 1

parser = argparse.ArgumentParser()
parser.add_argument("--data_url")
parser.add_argument("--train_url")
args, _ = parser.parse_known_args()

expected = mox.file.get_size(args.data_url, recursive=True)
assert expected > 0
if args.data_url.startswith("s3://"):
    assert mox.file.get_size(args.data_url) == 0
mox.file.copy_parallel(args.data_url, "data", threads=0, is_processing=False)
got = mox.file.get_size("data")
assert got == expected, (got, expected)
mox.file.write(os.path.join(args.train_url, "size.txt"), str(got))

"""One tar instead of many files, by copy_parallel on a single file, as troubleshooting guides do."""

import argparse
import os
import tarfile

import moxing as mox

parser = argparse.ArgumentParser()
parser.add_argument("--data_url")
parser.add_argument("--train_url")
args, _ = parser.parse_known_args()

mox.file.copy_parallel(os.path.join(args.data_url, "set.tar"), "/cache/set.tar")
with tarfile.open("/cache/set.tar") as archive:
    archive.extractall("/cache/set")
with tarfile.open("/cache/out.tar", "w") as archive:
    archive.add("/cache/set/inner", arcname="result")
mox.file.copy("/cache/out.tar", os.path.join(args.train_url, "out.tar"))
mox.file.copy("/cache/set/inner/file", os.path.join(args.train_url, "file"))

"""List, choose, and copy one by one; skip what is there."""

import argparse
import os

import moxing as mox

parser = argparse.ArgumentParser()
parser.add_argument("--data_url")
parser.add_argument("--train_url")
args, _ = parser.parse_known_args()

os.makedirs("chosen", exist_ok=True)
for name in mox.file.list_directory(args.data_url, recursive=True):
    source = os.path.join(args.data_url, name)
    if mox.file.is_directory(source) or not name.endswith(".txt"):
        continue
    target = os.path.join("chosen", name.replace("/", "_"))
    if not os.path.exists(target):
        mox.file.copy(source, target)
dst = os.path.join(args.train_url, "chosen")
if not mox.file.exists(dst):
    mox.file.make_dirs(dst)
assert mox.file.exists(dst) and mox.file.is_directory(dst)
for name in sorted(os.listdir("chosen")):
    mox.file.copy(os.path.join("chosen", name), os.path.join(dst, name))

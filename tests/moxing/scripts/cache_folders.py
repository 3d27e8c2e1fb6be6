"""The oldest habit: data to /cache/data, results from /cache/train."""

import argparse
import os

import moxing as mox

parser = argparse.ArgumentParser()
parser.add_argument("--data_url", type=str, default="")
parser.add_argument("--train_url", type=str, default="")
args, unparsed = parser.parse_known_args()

mox.file.copy_parallel(args.data_url, "/cache/data")
os.makedirs("/cache/train")
total = 0
for root, _, names in os.walk("/cache/data"):
    for name in names:
        total += os.path.getsize(os.path.join(root, name))
with open("/cache/train/total.txt", "w") as f:
    f.write(str(total))
mox.file.copy_parallel("/cache/train", args.train_url)

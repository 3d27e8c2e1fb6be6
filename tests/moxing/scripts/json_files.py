"""Reading and writing OBS in place, with File."""

import argparse
import json
import os

import moxing as mox

parser = argparse.ArgumentParser()
parser.add_argument("--data_url")
parser.add_argument("--train_url")
args, _ = parser.parse_known_args()

with mox.file.File(os.path.join(args.data_url, "labels.json"), "r") as f:
    labels = json.load(f)
with mox.file.File(os.path.join(args.train_url, "labels.json"), "w") as f:
    json.dump({name: label + 1 for name, label in labels.items()}, f)
raw = mox.file.read(os.path.join(args.data_url, "train", "0.txt"), binary=True)
mox.file.write(os.path.join(args.train_url, "copy.bin"), raw * 2)

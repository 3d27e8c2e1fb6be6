"""Everything through Python's own functions, after one shift."""

import argparse
import glob
import os
import shutil

import moxing as mox

mox.file.shift("os", "mox")
parser = argparse.ArgumentParser()
parser.add_argument("--data_url")
parser.add_argument("--train_url")
args, _ = parser.parse_known_args()

train = os.path.join(args.data_url, "train")
assert os.path.isdir(train) and os.path.exists(os.path.join(train, "0.txt"))
lines = []
for name in sorted(os.listdir(train)):
    if os.path.isfile(os.path.join(train, name)):
        with open(os.path.join(train, name)) as f:
            lines.append(f.read())
assert len(glob.glob(os.path.join(args.data_url, "*", "*.txt"))) == 4
out = os.path.join(args.train_url, "shifted")
os.makedirs(out)
with open(os.path.join(out, "all.txt"), "w") as f:
    f.writelines(lines)
shutil.copytree(train, os.path.join(args.train_url, "tree"))
os.remove(os.path.join(args.train_url, "tree", "1.txt"))
os.rename(os.path.join(out, "all.txt"), os.path.join(out, "joined.txt"))
found = {os.path.basename(root): sorted(names) for root, _, names in os.walk(args.train_url)}
assert found["shifted"] == ["joined.txt"], found
with open("plain.txt", "w") as f:
    f.write("local files are local")
shutil.copyfile("plain.txt", os.path.join(args.train_url, "plain.txt"))

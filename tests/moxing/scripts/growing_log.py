"""A log in OBS that grows line by line."""

import argparse
import os

from moxing.framework import file

parser = argparse.ArgumentParser()
parser.add_argument("--train_url")
args, _ = parser.parse_known_args()

log = os.path.join(args.train_url, "train.log")
for step in range(5):
    file.append(log, f"step {step}\n")
with file.File(log, "a") as f:
    f.write("end\n")
if log.startswith(("s3://", "obs://")):
    file.write(log + ".more", "more\n")
    file.append_remote(log + ".more", log)
else:
    file.append(log, "more\n")

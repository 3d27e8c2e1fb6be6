"""As the LeNet-5 tutorial has it: keywords, relative folders, a joined train_url."""

import argparse
import os

import moxing

parser = argparse.ArgumentParser()
parser.add_argument("--data_url", required=True)
parser.add_argument("--train_url", required=True)
args, unknown = parser.parse_known_args()

moxing.file.copy_parallel(src_url=args.data_url, dst_url="MNIST/")
assert sorted(os.listdir("MNIST")) == ["labels.json", "test", "train"]
os.makedirs("ckpt", exist_ok=True)
for epoch in (1, 2):
    with open(f"ckpt/lenet-{epoch}.ckpt", "wb") as f:
        f.write(bytes([epoch]) * 1000)
moxing.file.copy_parallel(src_url="ckpt", dst_url=os.path.join(args.train_url, "ckpt"))

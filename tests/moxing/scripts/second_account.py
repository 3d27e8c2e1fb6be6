"""Data of somebody else's private bucket, with their keys; results stay ours."""

import argparse
import os

import moxing

parser = argparse.ArgumentParser()
parser.add_argument("--server")
parser.add_argument("--train_url")
args, _ = parser.parse_known_args()

moxing.file.set_auth(
    ak=os.environ["THEIR_AK"], sk=os.environ["THEIR_SK"], server=args.server, is_secure=False, path_style=True
)
moxing.file.copy_parallel(src_url="s3://share-course/dataset/MNIST/", dst_url="MNIST/")
moxing.file.copy_parallel(src_url="MNIST", dst_url=os.path.join(args.train_url, "copied"))
moxing.file.make_dirs("obs://share-course/empty/folder/")
assert moxing.file.list_directory("obs://share-course", recursive=True)[-2:] == ["empty", "empty/folder"]
moxing.file.remove("obs://share-course/dataset", recursive=True)
moxing.file.remove("obs://share-course/empty", recursive=True)
assert moxing.file.list_directory("obs://share-course/") == []

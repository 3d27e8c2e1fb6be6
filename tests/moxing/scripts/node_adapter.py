"""The adapter of a model zoo: one process of a node copies, the others wait for its lock file."""

import argparse
import functools
import os
import time

parser = argparse.ArgumentParser()
parser.add_argument("--enable_modelarts", type=str, default="True")
parser.add_argument("--data_url", default="")
parser.add_argument("--train_url", default="")
parser.add_argument("--data_path", default="/cache/data")
parser.add_argument("--output_path", default="/cache/train")
config, _ = parser.parse_known_args()

synced = 0


def get_device_id():
    return int(os.getenv("DEVICE_ID", "0"))


def get_device_num():
    return int(os.getenv("RANK_SIZE", "1"))


def sync_data(from_path, to_path):
    import moxing as mox

    global synced
    lock = "/tmp/copy_sync.lock" + str(synced)
    synced += 1
    if get_device_id() % min(get_device_num(), 8) == 0 and not os.path.exists(lock):
        mox.file.copy_parallel(from_path, to_path)
        print("===finish data synchronization===")
        os.mknod(lock)
    while not os.path.exists(lock):
        time.sleep(1)
    print(f"Finish sync data from {from_path} to {to_path}.")


def moxing_wrapper(run_func):
    @functools.wraps(run_func)
    def wrapped(*args, **kwargs):
        if config.enable_modelarts == "True":
            if config.data_url:
                sync_data(config.data_url, config.data_path)
                print("Dataset downloaded: ", os.listdir(config.data_path))
            os.makedirs(config.output_path, exist_ok=True)
        run_func(*args, **kwargs)
        if config.enable_modelarts == "True" and config.train_url:
            sync_data(config.output_path, config.train_url)

    return wrapped


@moxing_wrapper
def train():
    names = sorted(os.listdir(os.path.join(config.data_path, "train")))
    with open(os.path.join(config.output_path, "names.txt"), "w") as f:
        f.write("\n".join(names))


train()

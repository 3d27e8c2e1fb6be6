"""minio-py or boto3 as a whole process: every file of a tree up or down. Runs in the peers' environment.

minio-py has no transfer of trees; a pool of 16 threads is what its examples suggest. boto3's transfer manager has 10.
Names are taken from the local tree, so that neither pays for a listing.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

BUCKET = "bucket"


def main(client: str, way: str, endpoint: str, names: str, prefix: str, target: str, certificate: str) -> None:
    """``names``: the tree whose files are meant; ``target``: the folder that downloads go to."""
    files = sorted(os.path.join(place, name) for place, _, found in os.walk(names) for name in found)
    pairs = [(path, f"{prefix}/{os.path.relpath(path, names)}") for path in files]
    if way == "down":
        pairs = [(os.path.join(target, os.path.relpath(path, names)), key) for path, key in pairs]
        for folder in {os.path.dirname(path) for path, _ in pairs}:
            os.makedirs(folder, exist_ok=True)
    if client == "minio":
        with_minio(way, endpoint, pairs, certificate)
    else:
        with_boto3(way, endpoint, pairs, certificate, "crt" if client == "boto3-crt" else "classic")


def with_minio(way: str, endpoint: str, pairs: list[Any], certificate: str) -> None:
    from minio import Minio

    secure = endpoint.startswith("https")
    os.environ["SSL_CERT_FILE"] = certificate
    client = Minio(endpoint.split("://")[1], "key", "secretsecret", secure=secure, region="us-east-1")

    def move(pair: Any) -> None:
        path, key = pair
        client.fput_object(BUCKET, key, path) if way == "up" else client.fget_object(BUCKET, key, path)

    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(move, pairs):
            pass


def with_boto3(way: str, endpoint: str, pairs: list[Any], certificate: str, transfer: str) -> None:
    if transfer == "crt":
        manager: Any = crt_manager(endpoint)
    else:
        manager = classic_manager(endpoint, certificate)
    with manager:
        moves = []
        for path, key in pairs:
            if way == "up":
                moves.append(manager.upload(path, BUCKET, key))
            else:
                moves.append(manager.download(BUCKET, key, path))
        for move in moves:
            move.result()


def classic_manager(endpoint: str, certificate: str) -> Any:
    import boto3
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secretsecret",
        verify=certificate if endpoint.startswith("https") else None,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=10),
    )
    return create_transfer_manager(client, TransferConfig(preferred_transfer_client="classic"))


def crt_manager(endpoint: str) -> Any:
    """boto3 itself gives its CRT client no endpoint, so that it always asks AWS; this is what it makes, with one."""
    from botocore.session import Session
    from s3transfer.crt import (
        BotocoreCRTCredentialsWrapper,
        BotocoreCRTRequestSerializer,
        CRTTransferManager,
        create_s3_crt_client,
    )

    session = Session()
    keys = BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
    client = create_s3_crt_client("us-east-1", keys, use_ssl=endpoint.startswith("https"))
    where = {"region_name": "us-east-1", "endpoint_url": endpoint}
    return CRTTransferManager(client, BotocoreCRTRequestSerializer(session, where))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Where runs on ModelArts go, and as whom."""

from __future__ import annotations

from dataclasses import dataclass

from storage.obs import ObsSettings
from storage.obs.credentials import Credentials


@dataclass(frozen=True)
class Place:
    """One project of one account in one region, and the bucket that code, data and output go to.

    Endpoints have a scheme and no slash at their end. They are Huawei's own for the region unless a person (a private
    cloud, the emulator) says otherwise.
    """

    region: str
    endpoint: str
    """Of ModelArts' API: `https://modelarts.cn-north-4.myhuaweicloud.com`."""
    iam_endpoint: str
    obs: ObsSettings
    """The same account's way to OBS."""
    credentials: Credentials
    """`current()` gives keys that are good for a while; the same object signs ModelArts' and OBS' requests."""
    bucket: str
    root: str = "launcher"
    """The prefix under which everything of ours lies in the bucket."""
    project_id: str = ""
    """32 hexadecimal digits; empty: IAM is asked for the region's project, once."""
    token: str = ""
    """A project-scoped IAM token (`X-Auth-Token`), in place of signed requests; empty: requests are signed."""
    workspace: str = "0"
    pool: str = ""
    """A dedicated resource pool's id; empty: the public pool."""
    client: str = "sdk"
    """`sdk` (huaweicloudsdkmodelarts) or `modelarts-sdk` (Huawei's wheel of notebooks) to submit with."""
    ca_file: str = ""
    proxy: str = ""
    timeout: float = 30.0
    """Seconds for a connection, and for each read."""

"""Where OBS is and who asks: endpoint, keys, and how requests are put."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any, Dict, NamedTuple, Optional, Tuple
from urllib.parse import unquote, urlsplit

from ..errors import InvalidUrl

_HUAWEI = re.compile(r"(^|\.)obs\.[a-z0-9-]+\.(myhuaweicloud|myhwclouds)\.(com|cn|eu)$")
_ADDRESS = re.compile(r"[0-9.]+|.*:.*")


class Proxy(NamedTuple):
    """An HTTP proxy that leads on to the store."""

    host: str
    port: int
    user: Optional[str]
    """None: it asks nobody who he is."""
    password: str


@dataclass(frozen=True)
class ObsSettings:
    """One account at one endpoint. Keys are never part of `repr`.

    `from_environment` is what a person has configured; other accounts are made by hand.
    """

    endpoint: str = ""
    """`https://obs.cn-north-4.myhuaweicloud.com`; without a scheme, https. Empty: made from the region."""
    region: str = ""
    """Region id, such as `cn-north-4`."""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """Of temporary keys."""
    iam_token: str = field(default="", repr=False)
    """What `sts` shows to IAM; empty: OBS_IAM_TOKEN."""
    iam_endpoint: str = ""
    """Of `sts`; empty: OBS_IAM_ENDPOINT, else Huawei's of the region."""
    credentials: str = "auto"
    """Where keys come from when none are given: `auto` (environment, then `~/.huaweicloud/credentials`), `ecs` (the
    metadata of an Elastic Cloud Server), `sts` (temporary keys for an IAM token), `anonymous` (public buckets)."""
    signature: str = "auto"
    """`obs`, `v2` (other S3 servers), or `auto`: obs for Huawei's own names, v2 for others."""
    addressing: str = "auto"
    """`host` (bucket.endpoint), `path` (endpoint/bucket), or `auto`: path for IP addresses and localhost."""
    ca_file: str = ""
    """More certificates to trust, in PEM. TLS is always verified, the host name too."""
    proxy: str = field(default="", repr=False)
    """`http://[user:password@]host:port`; `http://` may be left out."""
    wire: str = "direct"
    """What carries the bulk of the bytes: `direct` (kept connections of the standard library) or `sdk`."""
    checksum: str = "auto"
    """What the store checks a body by before it shows it: `sha256` (OBS), `md5` (any), or `auto`: sha256 with OBS' own
    signature, md5 with v2."""
    processes: str = "auto"
    """Worker processes that share the files of a large tree with this one (`storage.processes`): `auto`, or how many
    at most; `0` for none."""
    timeout: float = 60.0
    """Seconds without a byte before a connection is given up."""

    @classmethod
    def from_environment(cls, **overrides: Any) -> ObsSettings:
        """What the environment says: OBS_ENDPOINT, OBS_REGION, OBS_CREDENTIALS, OBS_SIGNATURE, OBS_ADDRESSING,
        OBS_CA_FILE, OBS_PROXY (else HTTPS_PROXY, unless NO_PROXY names the endpoint), OBS_WIRE, OBS_CHECKSUM,
        OBS_PROCESSES.
        Overrides that are empty do not count. Keys are looked for later, by `credentials`."""
        known: Dict[str, Any] = {
            name: os.environ.get("OBS_" + name.upper(), "")
            for name in (
                "endpoint",
                "region",
                "credentials",
                "signature",
                "addressing",
                "ca_file",
                "wire",
                "proxy",
                "checksum",
                "processes",
            )
        }
        known.update({name: value for name, value in overrides.items() if value})
        settings = cls(**{name: value for name, value in known.items() if value})
        return settings if settings.proxy else replace(settings, proxy=_proxy_for(settings))

    @property
    def place(self) -> Tuple[bool, str, int]:
        """(is it https, host, port). InvalidUrl when there is no endpoint, or none that can be read."""
        text = self.endpoint or (f"https://obs.{self.region}.myhuaweicloud.com" if self.region else "")
        if not text:
            raise InvalidUrl(
                "no OBS endpoint is known",
                "set OBS_REGION=cn-north-4 (your region), or OBS_ENDPOINT=https://obs.<region>.myhuaweicloud.com",
            )
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "https", text
        host, colon, port = rest.rstrip("/").partition(":")
        if (
            scheme not in ("http", "https")
            or not re.fullmatch(r"[A-Za-z0-9.-]+", host)
            or (colon and not port.isdigit())
        ):
            raise InvalidUrl(f"{text!r} is not an endpoint", "write it as https://obs.cn-north-4.myhuaweicloud.com")
        secure = scheme == "https"
        return secure, host, int(port) if port else (443 if secure else 80)

    @property
    def url(self) -> str:
        """The endpoint as a person reads it."""
        secure, host, port = self.place
        usual = port == (443 if secure else 80)
        return f"http{'s' if secure else ''}://{host}" + ("" if usual else f":{port}")

    @property
    def proxied(self) -> Optional[Proxy]:
        """The proxy, if there is one. InvalidUrl for what is none, or one that is not spoken to by plain HTTP."""
        text = self.proxy.strip()
        if not text:
            return None
        try:
            parts = urlsplit(text if "://" in text else "http://" + text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme != "http":  # no more of it is shown: it may hold a password
            told = f"is spoken to by {parts.scheme}" if host else "has no host and port that can be read"
            raise InvalidUrl(
                f"the proxy that is set {told}",
                "set OBS_PROXY (or HTTPS_PROXY) to http://host:port; other kinds do not work",
            )
        user = unquote(parts.username) if parts.username else None
        return Proxy(host, port or 8080, user, unquote(parts.password or ""))

    @property
    def path_style(self) -> bool:
        if self.addressing == "auto":
            host = self.place[1]
            return bool(_ADDRESS.fullmatch(host)) or host == "localhost"
        return self.addressing == "path"

    @property
    def signed_as(self) -> str:
        """`obs` or `v2`."""
        if self.signature == "auto":
            return "obs" if _HUAWEI.search(self.place[1]) else "v2"
        return self.signature

    @property
    def checked_by(self) -> str:
        """`sha256` or `md5`."""
        if self.checksum == "auto":
            return "sha256" if self.signed_as == "obs" else "md5"
        return self.checksum


def _proxy_for(settings: ObsSettings) -> str:
    """What the environment says of proxies, loopback excepted."""
    import urllib.request

    try:
        secure, host, _ = settings.place
    except InvalidUrl:
        return ""
    if host in ("localhost", "127.0.0.1") or urllib.request.proxy_bypass(host):
        return ""
    return urllib.request.getproxies().get("https" if secure else "http", "")

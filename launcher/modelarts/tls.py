"""Whom requests to ModelArts and IAM trust: the public authorities, this machine's, and those of ``ca_file``."""

from __future__ import annotations

import ssl
from typing import Any

from requests.adapters import HTTPAdapter

from launcher.errors import UsageError


class TrustingAdapter(HTTPAdapter):  # type: ignore[misc]
    """What `requests` trusts, and more; UsageError for a file that holds no certificates."""

    def __init__(self, ca_file: str = "", **options: Any) -> None:
        self._context = ssl.create_default_context()
        if ca_file:
            try:
                self._context.load_verify_locations(ca_file)
            except OSError as error:  # ssl.SSLError is one
                message = f"ca_file {ca_file!r} cannot be read as certificates in PEM: {error.strerror or error}"
                raise UsageError(message, "python -m launcher config show --origin") from error
        super().__init__(**options)

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        super().init_poolmanager(*sizes, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)

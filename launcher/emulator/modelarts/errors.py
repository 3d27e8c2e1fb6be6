"""What the service refuses with: an HTTP status, a code and a text.

Source: OTC API reference, appendix "Error Codes"; the gateway's codes as public clients' tests have them.
"""

from __future__ import annotations

import json
from http import HTTPStatus

STATUS_OF = {
    "APIGW.0101": 404, "APIGW.0201": 413, "APIGW.0301": 401, "APIGW.0308": 429,
    "ModelArts.0010": 500, "ModelArts.0203": 401, "ModelArts.0206": 403, "ModelArts.0210": 403,
    "ModelArts.2776": 204, "ModelArts.2777": 204, "ModelArts.2785": 403, "ModelArts.2786": 404,
    "ModelArts.2796": 409, "ModelArts.2799": 429, "ModelArts.2803": 405, "ModelArts.2836": 404,
    "ModelArts.2890": 404,
}  # fmt: skip
"""HTTP statuses of the codes that do not have 400."""


class ApiError(Exception):
    """A refusal; 204 is one too (nothing to fetch yet), and has no body."""

    def __init__(self, code: str, message: str, solution: str = "", status: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.solution = code, message, solution
        self.status = status or STATUS_OF.get(code, HTTPStatus.BAD_REQUEST)

    def body(self, request_id: str) -> bytes:
        """As the service writes it; the gateway, which answers for it, adds the request's id."""
        if self.status == HTTPStatus.NO_CONTENT:
            return b""
        found = {"error_code": self.code, "error_msg": self.message}
        if self.code.startswith("APIGW."):
            found["request_id"] = request_id
        elif self.solution:
            found["error_solution"] = self.solution
        return json.dumps(found, ensure_ascii=False).encode()


def not_found(job_id: str) -> ApiError:
    """A job that is not there is 400 and not 404 (OTC API reference; Terraform's provider relies on it)."""
    return ApiError("ModelArts.2775", f"Training job (ID: {job_id}) not found.", "Check the training job ID.")


def invalid(what: str) -> ApiError:
    """A parameter that cannot be: 400 ModelArts.2788."""
    return ApiError("ModelArts.2788", f"Invalid parameter ({what}).", "Check the parameter.")


def bad_path(path: str, reason: str) -> ApiError:
    """400 ModelArts.2791."""
    return ApiError("ModelArts.2791", f"Invalid obs path: {path}, reason: {reason}.", "Check the OBS path.")

"""Calls the API server for the test, past all injected faults: plain REST, with retries while the server is away."""

from __future__ import annotations

import ssl
import time
from typing import Any

import httpx
from hack.localcluster.api import ControlPlane

MERGE = "application/merge-patch+json"
PATIENCE_SECONDS = 60.0


class ApiError(Exception):
    """The API server refused the call."""


class Api:
    """Sends and returns JSON. Safe to use from several threads."""

    def __init__(self, plane: ControlPlane) -> None:
        self._client = httpx.Client(
            base_url=plane.server,
            verify=ssl.create_default_context(cafile=str(plane.ca)),
            headers={"Authorization": f"Bearer {plane.token}"},
            timeout=5,
            trust_env=False,
        )

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """The answer; None where there is no such object. Raises ApiError."""
        until = time.monotonic() + PATIENCE_SECONDS
        headers = {"Content-Type": MERGE} if method == "PATCH" else {}
        while True:
            try:
                answer = self._client.request(method, path, json=body, headers=headers)
            except httpx.HTTPError as error:
                told, status = repr(error), 503
            else:
                told, status = answer.text, answer.status_code
                if status < 300:
                    found: dict[str, Any] = answer.json()
                    return found
            if status in (404, 409) and method != "POST":
                return None
            # A server that has just started does not know all rights yet, and a new namespace has no defaults yet.
            if status in (400, 422) or time.monotonic() > until:
                raise ApiError(f"{method} {path}: {status} {told[:500]}")
            if status == 409 or "being terminated" in told:
                return None  # made already, by a try whose answer was lost; or nothing can be made there
            time.sleep(0.3)

    def get(self, path: str) -> dict[str, Any] | None:
        return self.call("GET", path)

    def items(self, path: str) -> list[dict[str, Any]]:
        """Delete the object, if it and its kind exist."""
        return (self.get(path) or {}).get("items") or []

    def make(self, path: str, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """Create the object and return it; None where an object of that name exists."""
        return self.call("POST", path, manifest)

    def patch(self, path: str, patch: dict[str, Any]) -> dict[str, Any] | None:
        return self.call("PATCH", path, patch)

    def delete(self, path: str) -> None:
        self.call("DELETE", path, {"propagationPolicy": "Background"})

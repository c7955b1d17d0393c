"""Asks Prometheus, with the token, tenant and certificates of the settings. No error shows one of these."""

from __future__ import annotations

import ast
import base64
import json
import logging
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from andante.app.settings import PrometheusSettings
from andante.app.text import clip

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
"""One element of a query's result."""

MAX_CAUSE: Final = 200
"""Characters of a cause; it may quote what a server or a proxy answered."""
MAX_RULES_BYTES: Final = 32 * 2**20
"""Of the rules that are read: about ten thousand services'. A larger answer would fill the operator's memory."""
LEAST_SECRET: Final = 4
"""Characters of the shortest secret that is taken out of a text: a shorter one would take out parts of words."""
_STATUS: Final = re.compile(r"HTTP Status Code (\d+) \((.*)\)", re.DOTALL)


class QueryError(Exception):
    """Prometheus did not answer the query; the message names the server and the cause."""


class PrometheusAccess:
    """Runs queries. Each query reads the files of the token and the password again, so a new token needs no restart."""

    def __init__(self, *, url: str, timeout_seconds: float, settings: PrometheusSettings) -> None:
        self._timeout, self._settings = timeout_seconds, settings
        parts = urlsplit(url)
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        self._in_url = [unquote(text) for text in (parts.username, parts.password) if text]
        self._login = _Login(settings)
        if settings.insecure_skip_verify:
            # Once, and not in urllib3's words for each query.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            logger.warning("prometheus.insecureSkipVerify: the certificate of %s is not checked", self._shown)
        session = requests.Session()
        session.verify = not settings.insecure_skip_verify and (settings.ca_file or True)
        if settings.client_certificate_file:
            session.cert = (settings.client_certificate_file, settings.client_key_file)
        session.max_redirects = 0  # headers would go wherever a redirect points
        self._session, self._rules_url = session, f"{url.partition('?')[0].rstrip('/')}/api/v1/rules"
        self._client = PrometheusConnect(
            url=f"{url.partition('?')[0].rstrip('/')}",
            headers=dict(settings.headers),
            auth=self._login if self._login.is_asked_for else None,
            session=session,
            # No retries within a tick: the next tick asks again, and a slow Prometheus must not delay every service.
            retry=Retry(total=0, redirect=False),
            timeout=timeout_seconds,
        )

    def query(self, promql: str, **parameters: str) -> list[Row]:
        """The rows of an instant query. Raises QueryError."""
        try:
            rows: list[Row] = self._client.custom_query(promql, params=parameters)
        except (PrometheusApiClientException, OSError, ValueError, KeyError, TypeError) as error:
            raise QueryError(f"Prometheus at {self._shown}: {clip(self._cause(error), MAX_CAUSE)}") from None
        if not isinstance(rows, list):
            raise QueryError(f"Prometheus at {self._shown}: the answer is not a list of series")
        return rows

    def rules(self) -> list[Row]:
        """The rule groups that this server evaluates. Raises QueryError."""
        asked = {"exclude_alerts": "true"}  # older servers send the alerts too
        try:
            with self._session.get(
                self._rules_url,
                params=asked,
                headers=dict(self._settings.headers),
                auth=self._login if self._login.is_asked_for else None,
                timeout=self._timeout,
                stream=True,
            ) as reply:
                body = reply.raw.read(MAX_RULES_BYTES + 1, decode_content=True)
                if reply.status_code != requests.codes.ok:
                    raise PrometheusApiClientException(f"HTTP Status Code {reply.status_code} ({body[:2000]!r})")
            if len(body) > MAX_RULES_BYTES:
                raise ValueError(f"its rules are more than {MAX_RULES_BYTES // 2**20} MiB")
            groups: list[Row] = json.loads(body)["data"]["groups"]
        except (
            PrometheusApiClientException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ) as error:
            raise QueryError(f"Prometheus at {self._shown}: {clip(self._cause(error), MAX_CAUSE)}") from None
        if not isinstance(groups, list):
            raise QueryError(f"Prometheus at {self._shown}: the answer is not a list of rules")
        return groups

    def _cause(self, error: Exception) -> str:
        text = _cause(error, timeout_seconds=self._timeout)
        for secret in (*self._in_url, *self._settings.headers.values(), *self._login.secrets):
            if len(secret) >= LEAST_SECRET:
                text = text.replace(secret, "***")
        return text


class _LoginFileError(ValueError):
    """A file of the login cannot be used; the message names the file."""


class _Login(AuthBase):
    """Puts the token, or user and password, into a request."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._token_file = settings.bearer_token_file
        self._username_file, self._password_file = settings.username_file, settings.password_file
        self.is_asked_for = bool(self._token_file or self._username_file)
        self.secrets: tuple[str, ...] = ()
        """What was read last, in every form in which an error may quote it."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token_file:
            token = _one_line(self._token_file)
            self.secrets = (token,)
            request.headers["Authorization"] = f"Bearer {token}"
            return request
        username, password = _one_line(self._username_file), _one_line(self._password_file)
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        self.secrets = (password, pair)
        request.headers["Authorization"] = f"Basic {pair}"
        return request


def _one_line(path: str) -> str:
    """The text of a file, without the end of its line. Raises _LoginFileError."""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _LoginFileError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _LoginFileError(f"{path} is not a text") from None
    if not text or not text.isprintable():
        raise _LoginFileError(f"{path} is not one line of text")
    return text


def _cause(error: BaseException, *, timeout_seconds: float) -> str:
    """The cause in words that are the same each time: without addresses of objects, and without the long query."""
    inner = list(_chain(error))
    certificate = next((one for one in inner if isinstance(one, ssl.SSLError)), None)
    refused = next((one for one in inner if isinstance(one, OSError) and one.strerror and one.errno), None)
    if isinstance(error, _LoginFileError):
        return str(error)
    if isinstance(error, PrometheusApiClientException):
        return _refusal(str(error))
    if isinstance(error, requests.TooManyRedirects):
        return "the answer is a redirect; give the URL that it points to"
    if isinstance(error, requests.Timeout):
        return f"no answer within {timeout_seconds:g} s"
    if certificate is not None:
        return f"TLS: {getattr(certificate, 'verify_message', '') or certificate.reason or certificate}"
    if isinstance(error, requests.exceptions.InvalidHeader):
        return "a header of the settings is not a header of HTTP"
    if isinstance(error, json.JSONDecodeError | requests.JSONDecodeError | KeyError | TypeError):
        return "the answer is not that of Prometheus' API; is the path right?"
    if refused is not None:
        return f"{refused.strerror}{f': {refused.filename}' if refused.filename else ''}"
    return re.sub(r"<[^>]*>(: )?|\(Caused by .*", "", str(inner[-1]))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, from the outside in."""
    found: BaseException | None = error
    while found is not None:
        yield found
        reason = getattr(found, "reason", None) or next((a for a in found.args if isinstance(a, BaseException)), None)
        found = reason if isinstance(reason, BaseException) else found.__cause__


def _refusal(text: str) -> str:
    """`HTTP 422: the sentence` of the client's message, which quotes the answer's bytes."""
    found = _STATUS.search(text)
    if found is None:
        return text
    try:
        body = ast.literal_eval(found[2]).decode("utf-8", "replace")
    except (ValueError, SyntaxError, AttributeError):
        body = found[2]
    try:
        said = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        said = " ".join(re.sub(r"<[^>]*>", " ", body).split())
    return f"HTTP {found[1]}: {said}" if said else f"HTTP {found[1]}"

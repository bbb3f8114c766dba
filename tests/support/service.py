"""The service, the worker and the simulator as real processes, and people who call the service over HTTP.

Everything listens on 127.0.0.1 and ends with the block that started it. What a process writes to standard error is kept
and searched when it ends: no token, key or password may stand in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from support.company import ISSUER, Company
from tagwarden.identity.tokens import Issuer, TokenVerifier
from tagwarden.kernel.settings import IssuerSetting, Settings

TOKEN_KEY = "the key of the first issuer, for tests only"
SECOND_ISSUER = "second"
SECOND_KEY = "the key of the second issuer, for tests only"
RSA_ISSUER = "rsa"
SECRET_KEY = "a secret key that only tests use, long enough"
PROBLEM_KEYS = {"type", "title", "status", "detail", "code", "request_id"}
PATIENCE = 120.0

_rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_PRIVATE = _rsa.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
RSA_PUBLIC = _rsa.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

ISSUERS = [
    {"issuer": ISSUER, "algorithm": "HS256", "verify_key": TOKEN_KEY, "sign_key": TOKEN_KEY},
    {"issuer": SECOND_ISSUER, "algorithm": "HS256", "verify_key": SECOND_KEY, "sign_key": SECOND_KEY},
    {"issuer": RSA_ISSUER, "algorithm": "RS256", "verify_key": RSA_PUBLIC},
]
SIGNER = TokenVerifier([Issuer(ISSUER, "tagwarden", "HS256", TOKEN_KEY, TOKEN_KEY)])


def token_for(corp_id: str, userid: str, seconds: int = 3600) -> str:
    """A token as `tagwarden token issue` makes it."""
    return SIGNER.issue(ISSUER, corp_id, userid, seconds=seconds)


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def settings_of(database_url: str, **more: Any) -> Settings:
    """The settings of the processes below, for an application built in this process."""
    issuers = [IssuerSetting.model_validate(one) for one in ISSUERS]
    return Settings(database_url=SecretStr(database_url), secret_key=SecretStr(SECRET_KEY), issuers=issuers, **more)


def environment(database_url: str, **more: str) -> dict[str, str]:
    """What an operator would set, and nothing that this machine has set for itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGWARDEN_")}
    given = {
        "DATABASE_URL": database_url,
        "SECRET_KEY": SECRET_KEY,
        "ISSUERS": json.dumps(ISSUERS),
        "DATABASE_CONNECTIONS": "8",
        "REQUESTS_PER_MINUTE": "100000",
        **more,
    }
    paths = [path for path in sys.path if path]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **{f"TAGWARDEN_{name}": value for name, value in given.items()}}


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """One `tagwarden …` process, or another `program` of Python's, with its own standard error."""

    words: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    url: str = ""
    secrets: list[str] = field(default_factory=lambda: [TOKEN_KEY, SECOND_KEY, SECRET_KEY, "PRIVATE KEY", "eyJ"])
    program: Sequence[str] = ("-m", "tagwarden")
    _child: subprocess.Popen[bytes] | None = None
    _log: Path | None = None

    def start(self) -> Process:
        """Starts it; with an address, waits until it answers."""
        handle, name = tempfile.mkstemp(prefix="tw-log-", suffix=".txt")
        self._log = Path(name)
        command = [sys.executable, "-W", "error::ResourceWarning", *self.program, *self.words]
        self._child = subprocess.Popen(command, env=dict(self.env), stdout=handle, stderr=handle, start_new_session=True)
        os.close(handle)
        if self.url:
            self._wait()
        return self

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        path = "/control/health" if self.words[0] == "simulator" else "/health/live"
        with httpx.Client(trust_env=False, timeout=2) as client:
            while time.monotonic() < until:
                assert self.running, self.log
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(self.url + path).status_code == 200:
                        return
                time.sleep(0.03)
        raise TimeoutError(f"{self.words[0]} did not answer")

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def log(self) -> str:
        """Everything it wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log else ""

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._child is not None, "not started"
        self._child.send_signal(number)

    def kill(self) -> None:
        """Ends it the hard way."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait(20)

    def stop(self) -> None:
        """Asks it to end, waits, and looks for secrets in what it wrote."""
        if self._child is None:
            return
        if self.running:
            self._child.terminate()
            try:
                self._child.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        log = self.log
        found = [secret[:8] for secret in self.secrets if secret in log]
        if self._log is not None:
            self._log.unlink(missing_ok=True)
            self._log = None
        assert not found, f"{self.words[0]} wrote secrets into its log: {found}"


@contextlib.contextmanager
def serving(database_url: str, **more: str) -> Iterator[Process]:
    """`tagwarden serve` as the application's role."""
    port = free_port()
    process = Process(["serve", "--port", str(port)], environment(database_url, **more), f"http://127.0.0.1:{port}")
    process.secrets.append(database_url)
    try:
        yield process.start()
    finally:
        process.stop()


@contextlib.contextmanager
def working(database_url: str, wecom_url: str, **more: str) -> Iterator[Process]:
    """`tagwarden worker` against a simulator; the budget is wide, so that tests need not wait for it."""
    given = {"WECOM_API_BASE": wecom_url, "WECOM_CALLS_PER_MINUTE": "3000", **more}
    process = Process(["worker"], environment(database_url, **given))
    process.secrets.append(database_url)
    try:
        yield process.start()
    finally:
        process.stop()


@contextlib.contextmanager
def simulating(state: Path, port: int | None = None) -> Iterator[Process]:
    """`tagwarden simulator`; its state is a file, so that it can be stopped and come back on the same port."""
    port = port or free_port()
    words = ["simulator", "--port", str(port), "--state", str(state)]
    process = Process(words, environment(""), f"http://127.0.0.1:{port}")
    try:
        yield process.start()
    finally:
        process.stop()


class Web:
    """People of one corp calling the service; a problem is looked at as closely as a client would."""

    def __init__(self, http: httpx.AsyncClient, corp_id: str) -> None:
        self.http = http
        self.corp_id = corp_id
        self._tokens: dict[str, str] = {}

    def headers(self, userid: str) -> dict[str, str]:
        """One person's token, English answers."""
        if userid not in self._tokens:
            self._tokens[userid] = token_for(self.corp_id, userid)
        return {**bearer(self._tokens[userid]), "Accept-Language": "en"}

    async def call(self, userid: str, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request; `If_Match="…"` becomes the header `If-Match`."""
        sent = {**self.headers(userid), **{name.replace("_", "-"): value for name, value in headers.items()}}
        response = await self.http.request(method, path, json=body, headers=sent)
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            check_problem(response)
        return response

    async def get(self, userid: str, path: str, **query: Any) -> httpx.Response:
        """A read."""
        sent = {name: value for name, value in query.items() if value is not None}
        response = await self.http.get(path, params=sent or None, headers=self.headers(userid))
        if response.status_code >= 400:
            check_problem(response)
        return response

    async def tag(
        self, userid: str, customer: str, add: Sequence[object] = (), remove: Sequence[object] = (), **more: Any
    ) -> httpx.Response:
        """A tag change; keyword arguments beginning with a capital are headers."""
        headers = {name: str(value) for name, value in more.items() if name[:1].isupper()}
        body = {name: value for name, value in more.items() if not name[:1].isupper()}
        changes = {"add": [str(one) for one in add], "remove": [str(one) for one in remove]}
        path = f"/v1/customers/{quote(customer, safe='')}/tag-changes"
        return await self.call(userid, "POST", path, {**changes, **body}, **headers)

    async def sign(self, userid: str, approval_id: str, verdict: str = "approve", comment: str = "") -> httpx.Response:
        """A decision, whatever the ETag."""
        body = {"verdict": verdict, "comment": comment}
        return await self.call(userid, "POST", f"/v1/approvals/{approval_id}/decisions", body, If_Match="*")


def check_problem(response: httpx.Response, status: int | None = None, code: str | None = None) -> dict[str, Any]:
    """The problem document of a response that is one in every respect (RFC 9457); AssertionError otherwise."""
    shown = f"{response.status_code} {response.text[:400]}"
    assert response.headers.get("content-type", "").startswith("application/problem+json"), shown
    body: dict[str, Any] = response.json()
    assert body.keys() >= PROBLEM_KEYS, shown
    assert body["status"] == response.status_code, shown
    assert body["type"] == f"urn:tagwarden:problem:{body['code']}", shown
    assert body["title"], shown
    assert body["detail"], shown
    assert body["code"], shown
    if response.status_code == 503:
        assert int(response.headers["retry-after"]) > 0
    if status is not None:
        assert response.status_code == status, shown
    if code is not None:
        assert body["code"] == code, shown
    return body


@dataclass
class Service:
    """A running service."""

    process: Process
    http: httpx.AsyncClient

    def web(self, company: Company) -> Web:
        """The people of a company."""
        return Web(self.http, company.corp_id)


@contextlib.asynccontextmanager
async def client_of(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of one process."""
    async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=30) as http:
        yield http


_shared: dict[str, tuple[contextlib.ExitStack, Process, int]] = {}


@contextlib.contextmanager
def _one_serving(database_url: str) -> Iterator[Process]:
    """The one process of a database that serves without Redis: a second one would refuse to start."""
    stack, process, users = _shared.get(database_url) or (contextlib.ExitStack(), None, 0)
    process = process or stack.enter_context(serving(database_url))
    _shared[database_url] = (stack, process, users + 1)
    try:
        yield process
    finally:
        stack, process, users = _shared.pop(database_url)
        if users > 1:
            _shared[database_url] = (stack, process, users - 1)
        else:
            stack.close()


@contextlib.asynccontextmanager
async def service_on(database_url: str, **more: str) -> AsyncIterator[Service]:
    """A service on a database: a process of one's own where settings are given, else one that is shared."""
    with serving(database_url, **more) if more else _one_serving(database_url) as process:
        async with client_of(process) as http:
            yield Service(process, http)

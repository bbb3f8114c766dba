"""Driving the simulator over real HTTP, and receiving its callbacks, without any part of the product's WeCom client."""

from __future__ import annotations

import socket
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tagwarden.simulator import crypto
from tagwarden.simulator.server import build_server

Json = dict[str, Any]
TOKEN, AES_KEY = "QDG6eK", "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
_NUMBERS = count(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve() -> Iterator[Simulator]:
    """A simulator in memory, in a thread of this process."""
    port = free_port()
    server = build_server("127.0.0.1", port, None)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 90
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    with Simulator(f"http://127.0.0.1:{port}").open() as simulator:
        yield simulator
    server.should_exit = True
    thread.join(10)


class Simulator:
    def __init__(self, base: str) -> None:
        self.base = base
        self.http = httpx.Client(base_url=base, trust_env=False, timeout=10)

    @contextmanager
    def open(self) -> Iterator[Simulator]:
        with self.http:
            yield self

    def control(self, method: str, path: str, body: object = None, expect: int | None = None) -> Json:
        response = self.http.request(method, f"/control/{path}", json=body)
        assert response.status_code == expect if expect else response.is_success, response.text
        return response.json() if response.content else {}

    def switch(self, **switches: object) -> None:
        self.control("PATCH", "switches", switches)

    def load(self, **setup: Any) -> Corp:
        """A fresh corp with two apps, the assistant, three departments and three employees, unless said otherwise."""
        corp_id = f"ww{next(_NUMBERS):016d}"
        body = {
            "corp_id": corp_id,
            "apps": [
                {"name": "crm", "secret": f"crm-{corp_id}", "agent_id": 7},
                {"name": "other", "secret": f"other-{corp_id}", "agent_id": 8},
                {"name": "assistant", "secret": f"assistant-{corp_id}", "kind": "contacts"},
            ],
            "departments": [
                {"id": 1, "name": "总部", "parentid": 0, "order": 9},
                {"id": 10, "name": "华东", "parentid": 1, "order": 5},
                {"id": 11, "name": "上海", "parentid": 10, "order": 4},
            ],
            "employees": [
                {"userid": "Li.Na", "name": "李娜", "department": [11], "roles": ["staff"], "modules": ["x"]},
                {"userid": "wang", "name": "王伟", "department": [10, 11], "is_leader_in_dept": [1, 0], "mobile": "1"},
                {"userid": "back", "name": "后台", "department": [1], "customer_contact": False},
            ],
            "tag_groups": [
                {"name": "客户价值", "tags": [{"name": "高净值"}, {"name": "普通"}]},
                {"name": "来源/渠道", "tags": ["直播", "a/b"]},
                {"name": "应用组", "tags": ["自建"], "app": "crm"},
            ],
            "follows": [
                {"userid": "Li.Na", "external_userid": "wm1", "name": "客户一", "tags": ["客户价值/普通"]},
                {"userid": "wang", "external_userid": "wm1", "tags": ["来源/渠道/a/b"], "createtime": 1700000000},
                {"userid": "wang", "external_userid": "wm2", "personal_tags": ["私人"]},
            ],
            **setup,
        }
        return Corp(self, corp_id, self.control("POST", "corps", body)["tags"])


@dataclass
class Corp:
    simulator: Simulator
    corp_id: str
    tags: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    def gettoken(self, secret: str) -> Json:
        query = {"corpid": self.corp_id, "corpsecret": secret}
        return self.simulator.http.get("/cgi-bin/gettoken", params=query).json()  # type: ignore[no-any-return]

    def token(self, app: str = "crm") -> str:
        if app not in self.tokens:
            self.tokens[app] = self.gettoken(f"{app}-{self.corp_id}")["access_token"]
        return self.tokens[app]

    def get(self, api: str, app: str = "crm", **query: object) -> Json:
        values = {"access_token": self.token(app), **{key: str(value) for key, value in query.items()}}
        return self.simulator.http.get(f"/cgi-bin/{api}", params=values).json()  # type: ignore[no-any-return]

    def post(self, api: str, body: object, app: str = "crm") -> Json:
        return self.raw_post(api, body, app).json()  # type: ignore[no-any-return]

    def raw_post(self, api: str, body: object, app: str = "crm") -> httpx.Response:
        return self.simulator.http.post(f"/cgi-bin/{api}", params={"access_token": self.token(app)}, json=body)

    def mark(self, userid: str, customer: str, add: object = (), remove: object = (), app: str = "crm") -> int:
        body = {"userid": userid, "external_userid": customer, "add_tag": add, "remove_tag": remove}
        return int(self.post("externalcontact/mark_tag", body, app)["errcode"])

    def held(self, userid: str, customer: str) -> list[str]:
        return self.control("GET", f"follows/{userid}/{customer}")["tags"]  # type: ignore[no-any-return]

    def control(self, method: str, path: str, body: object = None, expect: int | None = None) -> Json:
        return self.simulator.control(method, f"corps/{self.corp_id}/{path}", body, expect)

    def edit(self, kind: str, **fields: object) -> int:
        return int(self.control("POST", "console", {"kind": kind, **fields})["callbacks"])

    def calls(self, api: str = "*", since: int = 0) -> list[Json]:
        return self.control("GET", f"calls?api={api}&since={since}")["calls"]  # type: ignore[no-any-return]

    def library(self) -> dict[str, list[str]]:
        groups = self.control("GET", "tags")["tag_group"]
        return {group["group_name"]: [tag["name"] for tag in group["tag"]] for group in groups}


class Receiver:
    """An HTTP server that takes callbacks: checks their signature, decrypts them, answers what it is told to."""

    def __init__(self, corp_id: str = "") -> None:
        self.corp_id = corp_id
        self.events: list[dict[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.envelopes: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.stall_seconds = 0.0
        self.echo_suffix = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/callbacks"

    @contextmanager
    def listen(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    @property
    def callback(self) -> Json:
        return {"url": self.url, "token": TOKEN, "aes_key": AES_KEY}

    def wait(self, events: int) -> list[dict[str, str]]:
        """The events so far, once there are that many; waits a little longer for one too many."""
        deadline = time.monotonic() + 90
        while len(self.events) < events and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        return self.events

    def open(self, query: dict[str, str], encrypted: str) -> str:
        signature = crypto.sign(TOKEN, query["timestamp"], query["nonce"], encrypted)
        assert signature == query["msg_signature"]
        return crypto.decrypt(AES_KEY, self.corp_id, encrypted)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = dict(parse_qsl(urlsplit(self.path).query))
                plain = receiver.open(query, query["echostr"]) + receiver.echo_suffix
                self._answer(200, plain.encode())

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                query = dict(parse_qsl(urlsplit(self.path).query))
                envelope = _fields(raw.decode())
                event = _fields(receiver.open(query, envelope["Encrypt"]))
                receiver.queries.append(query)
                receiver.envelopes.append(envelope)
                time.sleep(receiver.stall_seconds)
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status == 200:
                    receiver.events.append(event)
                self._answer(status, b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _fields(text: str) -> dict[str, str]:
    return {child.tag: child.text or "" for child in ElementTree.fromstring(text)}

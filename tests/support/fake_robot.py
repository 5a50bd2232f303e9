"""Robots for tests of alarms: real HTTP on 127.0.0.1, the makers' own rules, and misbehaviour on demand.

It refuses what the makers refuse: another shape, more octets than they take, a wrong or old signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "693a91f6-7abc-4bc4-97a0-0ec2sifa5aaa"
TOKEN = "50cb6e954c89afa14fb97754eafd886d658fcda27d05015a26b474e7bd2f0a59"
SECRET = "SEC5a3ecf88f2b3eb50db30ecfc00f53033ac909c99bf7f88fd612bda89d7f3a9dc"


@dataclass
class FakeRobot:
    """A server that is a robot of each maker, at three paths.

    Attributes:
        now_ms: Its clock, for signatures; None takes any time.
        took: What it took, in order: who, and the message.
        refused: What it answered no to, in its own words.
        script: What it does with the next requests, instead of what is right: `(status, body)`, `hang`, `close`, `flood`,
            `redirect`.
    """

    now_ms: int | None = None
    took: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    script: deque[Any] = field(default_factory=deque)
    headers: list[dict[str, str]] = field(default_factory=list)
    base: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def wecom(self) -> str:
        """The address of the 企业微信 robot."""
        return f"{self.base}/cgi-bin/webhook/send?key={KEY}"

    @property
    def dingtalk(self) -> str:
        """The address of the 钉钉 robot."""
        return f"{self.base}/robot/send?access_token={TOKEN}"

    @property
    def generic(self) -> str:
        """The address of anything else."""
        return f"{self.base}/hook/a-secret-path-of-its-own"

    def texts(self) -> list[str]:
        """Return what groups can read."""
        return [message["text"]["content"] for who, message in self.took if who != "generic"]

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """Judge a request as its maker would."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not headers.get("content-type", "").startswith("application/json"):
            return self._no(200, 40035, "not json")
        try:
            message = json.loads(body.decode("utf-8"))
        except ValueError:
            return self._no(200, 40035, "not json")
        if parts.path == "/cgi-bin/webhook/send":
            return self._wecom(query, message)
        if parts.path == "/robot/send":
            return self._dingtalk(query, message)
        self.headers.append(headers)
        self.took.append(("generic", message))
        return 204, {}

    def _wecom(self, query: dict[str, str], message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if query != {"key": KEY}:
            return self._no(200, 93000, "invalid webhook url")
        if set(message) != {"msgtype", "text"} or message["msgtype"] != "text":
            return self._no(200, 40008, "invalid message type")
        content = message["text"].get("content", "")
        if not content or len(content.encode()) > 2048:
            return self._no(200, 40058, "content exceed max length. invalid Request Parameter")
        self.took.append(("wecom", message))
        return 200, {"errcode": 0, "errmsg": "ok"}

    def _dingtalk(self, query: dict[str, str], message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if query.get("access_token") != TOKEN:
            return self._no(200, 300005, "token is not exist")
        stamp = query.get("timestamp", "0")
        digest = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
        if query.get("sign") != base64.b64encode(digest).decode():
            return self._no(200, 310000, "sign not match")
        if self.now_ms is not None and abs(int(stamp) - self.now_ms) > 3_600_000:
            return self._no(200, 310000, "invalid timestamp")
        if message.get("msgtype") != "text" or not message.get("text", {}).get("content"):
            return self._no(200, 40035, "miss text")
        if len(message["text"]["content"].encode()) > 20000:
            return self._no(200, 460101, "message too long")
        self.took.append(("dingtalk", message))
        return 200, {"errcode": 0, "errmsg": "ok"}

    def _no(self, status: int, code: int, words: str) -> tuple[int, dict[str, Any]]:
        self.refused.append(words)
        return status, {"errcode": code, "errmsg": words}


@contextmanager
def serving_robot(**settings: Any) -> Iterator[FakeRobot]:
    """Run a robot."""
    robot = FakeRobot(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            wanted = robot.script.popleft() if robot.script else None
            match wanted:
                case "hang":
                    robot.released.wait(30)
                    return
                case "close":
                    return
                case "redirect":
                    self.send_response(302)
                    self.send_header("Location", robot.generic)
                    self.end_headers()
                    return
                case "flood":
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b" " * (1 << 20))
                    return
                case (int() as status, bytes() as told):
                    pass
                case _:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    status, value = robot.answer(self.path, headers, body)
                    told = json.dumps(value).encode() if value else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # the other side went away: that is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    robot.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield robot
    finally:
        robot.released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)

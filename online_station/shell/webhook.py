"""Send alarms to a robot: the one module besides the gateway that knows `requests`.

    generic   a JSON object, for anything that takes one; signed if a secret is set
    wecom     企业微信 群机器人
    dingtalk  钉钉 自定义机器人, with or without its signed secret (加签)

An address of a robot is a secret: who knows it can write to the group. It is shown without its end, and never in an error.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import quote_plus, urlsplit

import requests
from requests.adapters import HTTPAdapter

from shared.clock import format_time
from shared.errors import RobotInvalid, RobotSilent
from shared.text import Text, both

RobotKind = Literal["generic", "wecom", "dingtalk"]
ROBOT_KINDS: Final[tuple[RobotKind, ...]] = ("generic", "wecom", "dingtalk")
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
MOST_AT_ONCE: Final = 200
"""How many things one message says."""
_MOST_OCTETS: Final = {"generic": 0, "wecom": 2048, "dingtalk": 4096}
_MAX_ANSWER: Final = 1 << 16
_RATE_LIMITED: Final = {45009, 130101, 410100}
_NAME: Final = re.compile(r"[^\s\x00-\x1f/]{1,40}")
_SHORTEST_SECRET: Final = 8
_EVENT_WORDS: Final = {"raised": "新", "repeated": "仍在", "ended": "结束", "test": "测试"}


@dataclass(frozen=True)
class Robot:
    """Where alarms go.

    Attributes:
        name: What people call it.
        kind: Whose form it speaks.
        url: Its address, a secret.
        secret: What messages are signed with; empty if they are not.
        ca_file: Certificates for TLS, if not the system's.
    """

    name: str
    kind: RobotKind
    url: str
    secret: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Robot({self.name!r}, {self.kind!r}, {masked(self.url)!r})"


@dataclass(frozen=True)
class Said:
    """One thing that is said.

    Attributes:
        key: The alarm's.
        kind: The alarm's.
        event: `raised`, `repeated`, `ended`, or `test`.
        since: Since when it is so.
        text: In words.
    """

    key: str
    kind: str
    event: str
    since: datetime
    text: Text


@dataclass(frozen=True)
class Parcel:
    """A request to a robot, ready to be sent."""

    url: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Parcel({masked(self.url)!r}, {len(self.body)} bytes)"


def check_robot(robot: Robot) -> list[Text]:
    """Return what a person should know about a robot.

    Raises:
        RobotInvalid: It cannot be used.
    """
    if _NAME.fullmatch(robot.name) is None:
        raise RobotInvalid(
            reason=Text("名称为 1 到 40 个字，不含空格和斜杠", "a name has 1 to 40 signs, no blanks or slashes")
        )
    parts = urlsplit("")
    try:
        parts = urlsplit(robot.url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and robot.url.isascii()
            and (parts.port is None or parts.port > 0)
            and not (parts.fragment or parts.username or parts.password)
            and re.search(r"[\s\x00-\x1f]", robot.url) is None
        )
    except ValueError:
        usable = False
    if not usable:
        raise RobotInvalid(reason=Text("网址的写法不对", "the address is not well formed"))
    host, query = parts.hostname or "", parts.query
    if robot.kind == "wecom" and not _is_local(host) and "key=" not in query:
        raise RobotInvalid(reason=Text("企业微信的地址里应有 key=", "the address of a 企业微信 robot holds a key="))
    if robot.kind == "dingtalk" and not _is_local(host) and "access_token=" not in query:
        raise RobotInvalid(
            reason=Text("钉钉的地址里应有 access_token=", "the address of a 钉钉 robot holds an access_token=")
        )
    if robot.kind == "wecom" and robot.secret:
        raise RobotInvalid(reason=Text("企业微信机器人没有加签密钥", "a 企业微信 robot knows no signed secret"))
    if parts.scheme == "http" and not _is_local(host):
        return [
            Text(
                f"{host} 用的是 http：地址和告警会明文经过网络，能用 https 就用 https",
                f"{host} is spoken to in the clear (http): use https if it can",
            )
        ]
    return []


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def masked(url: str) -> str:
    """Return an address as it may be shown: its host, and its last four signs to tell it from another."""
    parts = urlsplit(url)
    end = url[-4:] if len(url) - len(parts.netloc) > 24 else ""
    return f"{parts.scheme}://{parts.hostname or ''}{'' if parts.port is None else f':{parts.port}'}/…{end}"


def parcel(robot: Robot, station: str, said: Sequence[Said], now: datetime, *, left_out: int = 0) -> Parcel:
    """Return the request that tells a robot something.

    Args:
        robot: The robot.
        station: Which station speaks.
        said: What is said.
        now: The present, for signatures.
        left_out: How many further things there are to say.
    """
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "taxferry"}
    if robot.kind == "generic":
        body = _dump(_generic(station, said, now, left_out))
        if robot.secret:
            stamp = str(int(now.timestamp()))
            signed = hmac.new(robot.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            headers |= {"Taxferry-Timestamp": stamp, "Taxferry-Signature": f"sha256={signed}"}
        return Parcel(robot.url, headers, body)
    content = _plain(station, said, left_out, _MOST_OCTETS[robot.kind])
    if robot.kind == "wecom":
        return Parcel(robot.url, headers, _dump({"msgtype": "text", "text": {"content": content}}))
    message = {"msgtype": "text", "text": {"content": content}, "at": {"isAtAll": False}}
    return Parcel(robot.url + dingtalk_signature(robot.secret, now), headers, _dump(message))


def dingtalk_signature(secret: str, now: datetime) -> str:
    """Return what 钉钉's signed secret adds to the address; nothing without one."""
    if not secret:
        return ""
    stamp = str(int(now.timestamp() * 1000))
    digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
    return f"&timestamp={stamp}&sign={quote_plus(base64.b64encode(digest))}"


def _generic(station: str, said: Sequence[Said], now: datetime, left_out: int) -> dict[str, object]:
    return {
        "source": "taxferry",
        "version": 1,
        "station": station,
        "sent_at": format_time(now),
        "left_out": left_out,
        "alarms": [
            {
                "key": each.key,
                "kind": each.kind,
                "event": each.event,
                "since": format_time(each.since),
                "text": {"zh": each.text.zh, "en": each.text.en},
            }
            for each in said
        ],
    }


def _plain(station: str, said: Sequence[Said], left_out: int, most: int) -> str:
    """Return a message in words that has room: what has none is counted."""
    lines = [f"【税渡】{station}"]
    room = most - len(lines[0].encode()) - 80
    shown = 0
    for each in said:
        line = f"{_EVENT_WORDS[each.event]}：{each.text.zh}"
        size = len(line.encode()) + 1
        if size > room:
            if shown:
                break
            line = line.encode()[: room - 4].decode(errors="ignore") + "…"
            size = len(line.encode()) + 1
        lines.append(line)
        room -= size
        shown += 1
    rest = len(said) - shown + left_out
    if rest:
        lines.append(f"另有 {rest} 条，在上网机执行 alarms list 查看")
    return "\n".join(lines)


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def send(robot: Robot, request: Parcel, *, proxy: str = "") -> None:
    """Send a request, once.

    Raises:
        RobotSilent: The robot did not say that it took the message.
    """
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(max_retries=0))
    session.mount("https://", HTTPAdapter(max_retries=0))
    if proxy:
        session.proxies = {"http": proxy, "https": proxy}
    if robot.ca_file:
        session.verify = robot.ca_file
    try:
        with (
            session,
            session.post(
                request.url,
                data=request.body,
                headers=request.headers,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            status, answer = response.status_code, _read(response)
    except (requests.RequestException, OSError, ValueError) as error:
        # Neither the error's words nor its cause: they hold the address.
        raise RobotSilent(robot=robot.name, reason=_why(error)) from None
    if status // 100 != 2:
        raise RobotSilent(robot=robot.name, reason=both(f"HTTP {status}"))
    if robot.kind != "generic":
        _believe(robot, answer)


def _read(response: requests.Response) -> bytes:
    found = b""
    for part in response.iter_content(1 << 12):
        found += part
        if len(found) > _MAX_ANSWER:
            raise ValueError("the answer is too long")
    return found


def _believe(robot: Robot, answer: bytes) -> None:
    """Both makers answer 200 with their own code of an error in it."""
    try:
        told = json.loads(answer)
        code = int(told["errcode"])
        words = _without_secrets(robot, re.sub(r"[\x00-\x1f]+", " ", str(told.get("errmsg", ""))))[:120]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RobotSilent(robot=robot.name, reason=Text("回答不是机器人的", "no robot's answer")) from None
    if code in _RATE_LIMITED:
        raise RobotSilent(
            robot=robot.name, reason=Text(f"发送太频繁（{code}），稍后再试", f"too many messages ({code}), later again")
        )
    if code != 0:
        raise RobotSilent(robot=robot.name, reason=both(f"{code} {words}".strip()))


def _without_secrets(robot: Robot, words: str) -> str:
    parts = urlsplit(robot.url)
    secrets = [robot.secret, *parts.path.split("/"), *re.split(r"[&=]", parts.query)]
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            words = words.replace(secret, "…")
    return words


def _why(error: Exception) -> Text:
    if isinstance(error, requests.exceptions.SSLError):
        return Text("TLS 证书不被信任", "the TLS certificate is not trusted")
    if isinstance(error, requests.exceptions.ProxyError):
        return Text("代理不可用", "the proxy does not work")
    if isinstance(error, requests.Timeout):
        return Text("超时，没有回应", "no answer in time")
    if isinstance(error, requests.ConnectionError):
        return Text("连接不上", "no connection")
    return Text("回答读不了", "the answer cannot be read")

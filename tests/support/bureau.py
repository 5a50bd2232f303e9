"""A whole bureau inside the test: a folder, a clock that stands, cards, keys, and its HTTP interface without a socket."""

from __future__ import annotations

import asyncio
import atexit
import functools
import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.clock import FixedClock, SystemClock
from shared.envelope.roles import fingerprint
from shared.envelope.seal import SealedReport
from shared.envelope.textsign import sign_text
from shared.httpsig import content_digest, sign_request
from shared.ids import MachineNo, TaxpayerId
from shared.keys.file import SoftSigner, load_key_file
from shared.keys.port import Signer
from shared.keys.secret import Secret
from shared.model.ack import Ack, render_ack
from shared.model.result import ProvenResult, prove_result
from shared.model.taxcard import TaxCard, read_taxcard
from tax_bureau.app import make_app
from tax_bureau.home import Bureau, init_bureau, open_bureau
from tax_bureau.issue import KeyType
from tax_bureau.judge.facts import Declaration
from tax_bureau.registry import CardOrder
from tests.support.pki import NOW, OTHER_TAXPAYER, TAXPAYER, TAXPAYER_NAME
from tests.support.reports import sealed

PIN = Secret("135790")
URL = "http://bureau.test"
AGENCY = TaxpayerId("310100000000019")
PERIOD = "2026-07"


@functools.cache
def _template(real_time: bool) -> Path:
    """Return a folder with a bureau that has issued cards 0 and 1 of the test's taxpayer, and keys to three.

    Args:
        real_time: Issued today, for tests that start processes; else at `NOW`.
    """
    root = Path(tempfile.mkdtemp(prefix="taxferry-bureau-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    _make(root, FixedClock(SystemClock().now() if real_time else NOW), "")
    return root


def _make(root: Path, clock: FixedClock, database: str) -> None:
    init_bureau(root / "home", clock, key_type="p256", database=database)
    bureau = open_bureau(root / "home", clock)
    for machine, subs in ((0, 1), (1, 0)):
        order = CardOrder(TAXPAYER, TAXPAYER_NAME, MachineNo(machine), subs, key_type="p256")
        bureau.registry.issue_card(order, root / f"{machine}.taxcard")
    for taxpayer in (TAXPAYER, OTHER_TAXPAYER, AGENCY):
        out = root / f"{taxpayer}.p12"
        bureau.registry.issue_key(taxpayer, out, PIN, key_type="p256", name=TAXPAYER_NAME)
        bureau.registry.enroll(taxpayer, load_key_file(out, PIN).certificate)
    bureau.store.close()


@functools.cache
def _issued_key(taxpayer_id: str, real_time: bool) -> SoftSigner:
    return load_key_file(_template(real_time) / f"{taxpayer_id}.p12", PIN)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


_opened: list[Bureau] = []


def close_offices() -> None:
    """Close every bureau that an `Office` opened: the last act of a test that had one."""
    while _opened:
        _opened.pop().store.close()


@dataclass
class Office:
    """A bureau in a folder of its own.

    Attributes:
        root: The test's folder.
        clock: The bureau's clock; it stands until a test moves it.
        real_time: The clock stands at the machine's time instead of `NOW`.
        database: The URL of an empty PostgreSQL database, or nothing for SQLite.
    """

    root: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    real_time: bool = False
    database: str = ""

    def __post_init__(self) -> None:
        """Start from the template: issuing keys takes longer than most tests."""
        if self.real_time:
            self.clock.moment = SystemClock().now()
        if self.database:
            self.root.mkdir(parents=True, exist_ok=True)
            _make(self.root, self.clock, self.database)
        else:
            shutil.copytree(_template(self.real_time), self.root, dirs_exist_ok=True)
        self.bureau = self._open()
        self.bureau.desk.set_processing_seconds(0)

    def _open(self) -> Bureau:
        bureau = open_bureau(self.root / "home", self.clock)
        _opened.append(bureau)
        return bureau

    def restart(self) -> None:
        """Close the bureau and open it again from its folder."""
        self.bureau.store.close()
        self.bureau = self._open()
        with self.bureau.store.write() as tx:
            tx.let_go()  # its process is dead

    def card(self, machine: int | str = 0) -> SoftSigner:
        """Return the card of a machine."""
        return self.taxcard(machine).signer()

    def taxcard(self, machine: int | str = 0) -> TaxCard:
        """Return the card file of a machine."""
        return read_taxcard(self.root / f"{machine}.taxcard")

    def issue(self, name: str, machine: int, **changes: Any) -> SoftSigner:
        """Issue a further card into `name`.taxcard."""
        fields: dict[str, Any] = {"key_type": "p256", "reissue": True, "taxpayer_id": TAXPAYER, **changes}
        order = CardOrder(name=TAXPAYER_NAME, machine_no=MachineNo(machine), **fields)
        return self.bureau.registry.issue_card(order, self.root / f"{name}.taxcard").card.signer()

    def key(self, taxpayer_id: str = TAXPAYER) -> SoftSigner:
        """Return a taxpayer's enterprise key."""
        if self.database:
            return load_key_file(self.root / f"{taxpayer_id}.p12", PIN)
        return _issued_key(taxpayer_id, self.real_time)

    def new_key(self, name: str, *, key_type: KeyType = "p256", taxpayer_id: TaxpayerId = TAXPAYER) -> SoftSigner:
        """Return a further key of a taxpayer; it is not on file."""
        out = self.root / f"{name}.p12"
        self.bureau.registry.issue_key(taxpayer_id, out, PIN, key_type=key_type, name=TAXPAYER_NAME)
        return load_key_file(out, PIN)

    def seal(self, card: Signer | None = None, **changes: Any) -> tuple[bytes, SealedReport]:
        """Return a report of July 2026 sealed to this bureau."""
        changes.setdefault("recipients", [self.bureau.keyring.envelope.certificate])
        return sealed(card or self.card(), **changes)

    def client(self, signer: Signer | None = None) -> Client:
        """Return a client that signs with a key, by default the taxpayer's."""
        return Client(self, signer or self.key())

    def send(self, card: Signer | None = None, **changes: Any) -> str:
        """Upload a fresh report, have everything judged that is due, and return the report's digest."""
        data, report = self.seal(card, **changes)
        reply = self.client().put_report(report.digest, data)
        assert reply.status == 201, reply.body
        self.bureau.desk.judge_all()
        return report.digest

    def declare(self, figures: Mapping[str, Any] | None = None) -> None:
        """Declare July: matching, or with figures; and have everything judged that is due."""
        declaration = Declaration(matching=True) if figures is None else Declaration(figures=figures)
        self.bureau.desk.declare(TAXPAYER, PERIOD, declaration)
        self.bureau.desk.judge_all()

    def result(self, digest: str) -> ProvenResult:
        """Return the newest result of a report, fetched and proven as a card would."""
        reply = self.client().get(f"/v1/reports/{digest}/result")
        assert reply.status == 200, reply.body
        return prove_result(reply.body, self.bureau.keyring.store, at=self.clock.now())

    def code(self, digest: str) -> str:
        """Return the error number of the newest result; `success` for a success."""
        result = self.result(digest).result
        return result.code or result.outcome

    def ack(self, digest: str, card: Signer | None = None, *, at: datetime | None = None, **changes: Any) -> bytes:
        """Return the clear receipt that a card would write for its report's success."""
        proven = self.result(digest)
        found = proven.result
        fields: dict[str, Any] = {
            "name": found.name,
            "card_no": found.card_no,
            "report_digest": found.report_digest,
            "result_no": found.result_no,
            "result_sha256": proven.body_sha256,
            "cleared_at": at or self.clock.now(),
            "lock_date": found.lock_date or date(2026, 9, 15),
        }
        return sign_text(render_ack(Ack(**{**fields, **changes})), card or self.card(), signing_time=self.clock.now())


class Client:
    """Speaks to an office's interface, signed, without a socket."""

    def __init__(self, office: Office, signer: Signer) -> None:
        self.office = office
        self.signer = signer

    def get(self, target: str, **options: Any) -> Reply:
        return self.request("GET", target, **options)

    def put_report(self, digest: str, data: bytes, **options: Any) -> Reply:
        return self.request("PUT", f"/v1/reports/{digest}", data, **options)

    def put_part(self, digest: str, data: bytes, first: int, size: int, **options: Any) -> Reply:
        """Send the part of a file that begins at `first`; `whole` (a digest), `total` and `octets` may be lies."""
        octets = options.pop("octets", data[first : first + size])
        last, total = first + len(data[first : first + size]) - 1, options.pop("total", len(data))
        fields = {
            "Content-Range": options.pop("range", f"bytes {first}-{last}/{total}"),
            "Repr-Digest": content_digest(options.pop("whole", hashlib.sha256(data).digest())),
        }
        return self.request("PUT", f"/v1/reports/{digest}", octets, fields=fields, **options)

    def put_ack(self, digest: str, data: bytes, **options: Any) -> Reply:
        return self.request("PUT", f"/v1/reports/{digest}/ack", data, **options)

    def sign(self, method: str, target: str, body: bytes | None = None, **options: Any) -> dict[str, str]:
        """Return the header fields of a request; `created`, `nonce`, `keyid`, `fields`, `digest_of` may be given."""
        promised = options.get("digest_of", body)
        return sign_request(
            method,
            URL + target,
            None if promised is None else content_digest(hashlib.sha256(promised).digest()),
            self.signer,
            created=options.get("created", int(self.office.clock.now().timestamp())),
            nonce=options.get("nonce", secrets.token_hex(16)),
            keyid=options.get("keyid", fingerprint(self.signer.certificate)),
            fields=options.get("fields"),
        )

    def request(self, method: str, target: str, body: bytes | None = None, **options: Any) -> Reply:
        """Send a signed request; `headers` are sent instead of the signed ones, `extra` besides them; it may be `cut` short."""
        headers = options.pop("headers", None)
        cut = options.pop("cut", None)
        extra = options.pop("extra", {})
        if headers is None:
            headers = self.sign(method, target, body, **options)
        return send(self.office.bureau, method, target, body, {**headers, **extra}, cut=cut)


def send(
    bureau: Bureau,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    cut: int | None = None,
) -> Reply:
    """Send any request to a bureau's interface; the connection may break after `cut` octets of its body."""
    parts = urlsplit(URL + target)
    fields = {"host": parts.netloc, **({"content-length": str(len(body))} if body is not None else {})}
    fields.update({name.lower(): value for name, value in (headers or {}).items()})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        "server": ("bureau.test", 80),
        "client": ("127.0.0.1", 1),
    }
    return asyncio.run(_call(bureau, scope, (body or b"")[:cut], broken=cut is not None))


async def _call(bureau: Bureau, scope: dict[str, Any], body: bytes, *, broken: bool = False) -> Reply:
    pieces: Iterable[bytes] = [body[i : i + 65536] for i in range(0, len(body), 65536)] or [b""]
    queue: list[dict[str, Any]] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if not broken:
        queue.append({"type": "http.request", "body": b"", "more_body": False})
    status = 0
    headers: dict[str, str] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return queue.pop(0) if queue else {"type": "http.disconnect"}

    async def answer(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.update({n.decode().lower(): v.decode() for n, v in message["headers"]})
        else:
            parts.append(message.get("body", b""))

    await make_app(bureau)(scope, receive, answer)
    return Reply(status, headers, b"".join(parts))

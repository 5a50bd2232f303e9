"""Any rows of any sizes come out as they went in, and only the writer's own octets are read."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.envelope import der
from shared.envelope.der import Malformed, Reader
from shared.envelope.frame import FrameReader
from shared.envelope.opening import open_report, prove_report
from shared.envelope.roles import Role
from shared.envelope.seal import is_invoice_row
from shared.envelope.textsign import prove_text, sign_text
from shared.errors import ResultInvalid, TaxferryError
from tests.support.pki import NOW, pki
from tests.support.reports import sealed

LINE = st.binary(min_size=1, max_size=300).map(lambda data: data.replace(b"\n", b" "))
SEEDED = st.tuples(st.integers(0, 2**32), st.integers(1, 70_000))


def noise(seed: int, length: int) -> bytes:
    """Return a line that does not compress, so that sizes reach the chunks' borders."""
    return hashlib.shake_256(seed.to_bytes(8, "big")).digest(length).replace(b"\n", b" ")


@given(st.lists(LINE | SEEDED.map(lambda pair: noise(*pair)), min_size=1, max_size=12))
def test_rows_come_out_as_they_went_in(content: list[bytes]) -> None:
    invoices = sum(is_invoice_row(line) for line in content)
    data, written = sealed(
        pki().card(key_type="p256"), [pki().envelope_p256.certificate], invoices=invoices, content=content
    )
    with open_report(io.BytesIO(data), pki().trust, pki().envelope_p256, at=NOW) as opened:
        assert [line for _, line in opened.rows()] == content
        assert opened.proven.digest == written.digest


@given(st.binary(max_size=400))
def test_octets_from_nowhere_are_refused_with_our_errors(data: bytes) -> None:
    for hostile in (data, b"\x30\x80\x06\x09" + data):
        try:
            prove_report(io.BytesIO(hostile), pki().trust, at=NOW)
        except TaxferryError:
            continue
        raise AssertionError


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]), max_size=200), st.booleans(), st.booleans())
def test_text_comes_out_as_it_went_in(value: str, bom: bool, bare: bool) -> None:
    if "-----BEGIN" in value:
        return
    body = f"标题\r\n值: {value}\r\n".encode()
    data = sign_text(body, pki().bureau_result, signing_time=NOW)
    data = data.replace(b"\r\n", b"\n") if bare else data
    data = b"\xef\xbb\xbf" + data if bom else data
    assert prove_text(data, Role.BUREAU_RESULT, pki().trust, at=NOW, error=ResultInvalid).body == body


@given(st.binary(max_size=300))
def test_text_from_nowhere_is_refused_with_our_errors(data: bytes) -> None:
    for hostile in (data, b"a\r\n-----BEGIN CMS-----\r\n" + data + b"\r\n-----END CMS-----\r\n"):
        try:
            prove_text(hostile, Role.CARD, pki().trust, at=NOW, error=ResultInvalid)
        except TaxferryError:
            continue
        raise AssertionError


@given(st.integers(0, 2**160))
def test_integers_have_one_spelling(value: int) -> None:
    whole = der.integer(value)
    assert der.parse_integer(Reader(whole).read(der.INTEGER)) == value


@given(st.binary(max_size=40))
def test_an_element_that_is_read_is_the_one_that_is_written(data: bytes) -> None:
    try:
        reader = Reader(data)
        content = reader.read(der.SEQUENCE)
        reader.finish()
    except Malformed:
        return
    assert der.sequence(content) == data


@given(st.integers(-631152000, 253402300799))
def test_times_have_one_spelling(seconds: int) -> None:  # 1950 to 9999
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert der.parse_time(der.time(moment)) == moment


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_a_frame_reader_never_fails_in_another_way(pieces: list[bytes]) -> None:
    reader = FrameReader(1000)
    try:
        for piece in (b"\x28\xb5\x2f\xfd", *pieces):
            for block in reader.feed(piece):
                assert len(block) <= 1000
        reader.finish()
    except Malformed:
        pass

"""The issued card, and what the bureau says of a month and a report."""

from __future__ import annotations

import json
import os
import stat
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import BureauRefused, CardFileInvalid, ConfigurationError, TaxferryError
from shared.model.standing import parse_report_status, parse_standing
from shared.model.taxcard import TaxCard, parse_taxcard, read_taxcard, render_taxcard, write_taxcard
from tax_bureau.issue import certificate_pem, key_pem
from tests.support.pki import TAXPAYER_NAME, pki
from tests.support.texts import signed_trust, trust_file

P = pki()


def card(**changes: Any) -> TaxCard:
    """Return the card of the main machine."""
    signer = P.card()
    fields: dict[str, Any] = {
        "card_no": "TC0000000000",
        "taxpayer_id": "310100000000000",
        "taxpayer_name": TAXPAYER_NAME,
        "machine_no": 0,
        "sub_machines": 1,
        "key_pem": key_pem(signer._key),
        "certificate_pem": certificate_pem(signer.certificate),
        "chain_pem": certificate_pem(P.issuing),
        "trust": signed_trust(trust_file()).decode(),
        "last_copied": date(2026, 7, 1),
        "lock_date": date(2026, 8, 17),
        "offline_hours": 72,
        "offline_limits": {"004": 100_000_000},
        "stock": {"004": 25, "007": 100},
    }
    return TaxCard(**{**fields, **changes})


def test_a_card_is_read_back_with_a_working_key(tmp_path: Path) -> None:
    path = tmp_path / "税控 卡.taxcard"
    write_taxcard(path, card())
    found = read_taxcard(path)
    assert found == card()
    signer = found.signer()
    assert signer.certificate == P.card().certificate
    assert list(signer.chain) == [P.issuing]


@pytest.mark.skipif(os.name == "nt", reason="platform: permission bits are those of POSIX")
def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write_taxcard(tmp_path / "a.taxcard", card())
    assert stat.S_IMODE((tmp_path / "a.taxcard").stat().st_mode) == 0o600


def test_the_key_is_not_printed() -> None:
    assert "PRIVATE" not in repr(card())


@pytest.mark.parametrize(
    "changes",
    [
        {"machine_no": 1, "sub_machines": 2},
        {"machine_no": 65536},
        {"taxpayer_id": "1"},
        {"card_no": "a b"},
        {"stock": {"4": 1}},
        {"stock": {"004": -1}},
        {"offline_limits": {"004": -1}},
        {"unknown": 1},
        {"lock_date": "2026-08-17"},
    ],
)
def test_a_card_that_contradicts_itself_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        card(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"card_no": "TC1"},
        {"taxpayer_id": "310100000000001"},
        {"machine_no": 1, "sub_machines": 0},
        {"key_pem": key_pem(P.key("rsa", "another"))},
        {"key_pem": "x"},
        {"certificate_pem": "x"},
        {"certificate_pem": certificate_pem(P.issuing)},
        {"chain_pem": "x"},
        {"chain_pem": certificate_pem(P.issuing) * 9},
    ],
)
def test_a_card_whose_key_is_not_its_own_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CardFileInvalid):
        parse_taxcard(render_taxcard(card(**changes)))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\x00" * 99, b"\xff", b"{" * 100_000, b"x" * (5 << 20)])
def test_what_is_no_card_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_taxcard(data)


def test_a_refusal_never_shows_the_content() -> None:
    content = json.loads(render_taxcard(card()))
    content["key_pem"] = ["SECRET"]
    content["trust"] = 7
    with pytest.raises(ConfigurationError) as caught:
        parse_taxcard(json.dumps(content).encode())
    assert "SECRET" not in str(caught.value.as_json())


def test_every_truncation_of_a_card_is_refused() -> None:
    data = render_taxcard(card())
    for length in range(0, len(data) - 2, 101):
        with pytest.raises(TaxferryError):
            parse_taxcard(data[:length])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        read_taxcard(tmp_path / "nowhere.taxcard")


STANDING = {
    "taxpayer_id": "310100000000000",
    "period": "2026-07",
    "enrolled": True,
    "declared": False,
    "machines_expected": [0, 1],
    "machines_reported": [0],
    "key_fingerprints": ["ab" * 32],
    "lock_date": "2026-08-17",
    "upload_deadline": "",
    "bureau_time": "2026-08-05T09:30:00+08:00",
}


def test_a_standing_may_grow_and_still_be_read() -> None:
    found = parse_standing(json.dumps({**STANDING, "new_member": {"a": 1}}).encode())
    assert found.machines_expected == (0, 1)
    assert not found.declared
    assert parse_standing(found.model_dump_json().encode()) == found


@pytest.mark.parametrize(
    "changes",
    [
        {"enrolled": "yes"},
        {"period": "2026-13"},
        {"machines_expected": [-1]},
        {"machines_expected": "01"},
        {"key_fingerprints": ["AB" * 32]},
        {"lock_date": "17.8.2026"},
        {"taxpayer_id": None},
    ],
)
def test_a_standing_of_other_types_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BureauRefused):
        parse_standing(json.dumps({**STANDING, **changes}).encode())


@pytest.mark.parametrize("data", [b"", b"Y", b"<html>", b"[]", b"\xff", b" " * 300_000])
def test_an_answer_that_is_none_is_refused(data: bytes) -> None:
    for parse in (parse_standing, parse_report_status):
        with pytest.raises(BureauRefused):
            parse(data)


def test_a_status_says_where_to_go_on() -> None:
    data = json.dumps({"report_digest": "ab" * 32, "state": "partial", "offset": 262144}).encode()
    found = parse_report_status(data)
    assert (found.state, found.offset, found.receipt_no, found.code) == ("partial", 262144, "", "")
    with pytest.raises(BureauRefused):
        parse_report_status(data.replace(b"partial", b"lost"))

"""The trust file: handovers, rollback, mixing, limits (TRUST-1 to TRUST-9)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.envelope.roles import Role
from shared.envelope.textsign import sign_text
from shared.errors import CertificateRefused, Outdated, SignatureRefused, TaxferryError, TrustFileInvalid, TrustRefused
from shared.keys.file import SoftSigner
from shared.model.trust import (
    MAX_TRUST_BYTES,
    TrustFile,
    open_issued_trust,
    parse_trust_body,
    prove_trust,
    read_signed_trust,
    render_trust_body,
)
from tax_bureau.issue import authority_name, make_certificate, make_crl, make_issuing_ca, make_root
from tests.support.pki import DAY, NOT_AFTER, NOT_BEFORE, NOW, foreign_pki, p256_pki, pki, rogue_pki
from tests.support.texts import NextRoot, signed_trust, trust_file

VECTORS = Path(__file__).parents[3] / "vectors" / "text"
BUREAU = pki()


def successor(current: TrustFile, **changes: Any) -> TrustFile:
    """Return the next version of a trust file."""
    return replace(current, **{"version": current.version + 1, "issued_at": current.issued_at + DAY, **changes})


def with_second_root(current: TrustFile, new: NextRoot | None = None, **changes: Any) -> TrustFile:
    """Return the next version, which hands over to a new root."""
    new = new or NextRoot(BUREAU)
    return successor(
        current,
        roots=(*current.roots, new.root),
        handovers=(*current.handovers, new.handover),
        crls=(*current.crls, new.crl),
        **changes,
    )


def test_a_trust_file_is_read_back() -> None:
    trust = trust_file()
    assert parse_trust_body(render_trust_body(trust)) == trust


def test_every_part_may_be_absent_but_a_root() -> None:
    bare = TrustFile(version=1, issued_at=NOW, roots=(BUREAU.root,))
    assert parse_trust_body(render_trust_body(bare)) == bare


def test_it_is_proven_by_the_root_that_a_person_handed_over() -> None:
    found = prove_trust(signed_trust(trust_file()), root=BUREAU.root, at=NOW)
    assert found == trust_file()
    assert found.signer == BUREAU.trust_signer.certificate
    assert found.warnings == ()
    assert found.store().prove(BUREAU.card().certificate, (), Role.CARD, at=NOW) == ()


def test_p256_bureaus_work_too() -> None:
    bureau = p256_pki()
    assert prove_trust(signed_trust(trust_file(bureau), by=bureau.trust_signer), root=bureau.root, at=NOW)


def test_another_root_is_refused() -> None:
    for other in (foreign_pki().root, rogue_pki().root):
        with pytest.raises(TrustRefused):
            prove_trust(signed_trust(trust_file()), root=other, at=NOW)


def test_the_card_believes_the_root_that_it_came_with() -> None:
    assert open_issued_trust(signed_trust(trust_file()), at=NOW) == trust_file()


@pytest.mark.parametrize(
    "signer", [BUREAU.bureau_result, BUREAU.card(), BUREAU.station()], ids=["result", "card", "key"]
)
def test_only_a_trust_key_may_sign(signer: SoftSigner) -> None:
    with pytest.raises(SignatureRefused):
        prove_trust(signed_trust(trust_file(), by=signer), root=BUREAU.root, at=NOW)


@pytest.mark.parametrize("bureau", [foreign_pki(), rogue_pki()], ids=["foreign", "rogue"])
def test_a_trust_key_of_another_bureau_is_refused(bureau: Any) -> None:
    with pytest.raises(CertificateRefused):
        prove_trust(signed_trust(trust_file(), by=bureau.trust_signer), root=BUREAU.root, at=NOW)


def test_a_revoked_trust_key_is_refused() -> None:
    trust = trust_file(crls=BUREAU.crls([BUREAU.trust_signer.certificate], number=2))
    with pytest.raises(CertificateRefused):
        prove_trust(signed_trust(trust), root=BUREAU.root, at=NOW)


# --- handovers ------------------------------------------------------------------------------------------------------


def test_a_reader_of_version_1_follows_a_handover_and_the_old_root_can_retire() -> None:
    first = prove_trust(signed_trust(trust_file()), root=BUREAU.root, at=NOW)
    new = NextRoot(BUREAU)
    both = prove_trust(signed_trust(with_second_root(first, new)), root=first, at=NOW)
    assert both.roots_in_force == (BUREAU.root, new.root)
    issuing = make_issuing_ca(
        BUREAU.issuing_key.public_key(),
        authority_name("second issuing CA"),
        issuer=new.root,
        issuer_key=new.key,
        not_before=NOT_BEFORE,
        not_after=NOT_AFTER,
    )
    trust_key = BUREAU.key("rsa", "second trust")
    certificate = make_certificate(
        Role.TRUST,
        trust_key.public_key(),
        authority_name("second trust"),
        issuer=issuing,
        issuer_key=BUREAU.issuing_key,
        not_before=NOT_BEFORE,
        not_after=NOT_AFTER,
    )
    crl = make_crl(issuing, BUREAU.issuing_key, (), number=1, this_update=NOT_BEFORE, next_update=NOT_AFTER)
    only_new = successor(
        both,
        first_root=2,
        intermediates=(issuing,),
        certificates={Role.TRUST: (certificate,)},
        crls=(new.crl, crl),
    )
    data = signed_trust(only_new, by=SoftSigner(trust_key, certificate, (issuing,)))
    assert prove_trust(data, root=both, at=NOW).roots_in_force == (new.root,)
    # Whoever knows only the very first root, or only version 1, gets there with this one file.
    assert prove_trust(data, root=BUREAU.root, at=NOW) == prove_trust(data, root=first, at=NOW) == only_new
    # The old world is no longer believed.
    with pytest.raises(CertificateRefused):
        only_new.store().prove(BUREAU.card().certificate, BUREAU.card().chain, Role.CARD, at=NOW)


def test_a_new_root_without_the_old_ones_signature_is_refused() -> None:
    genuine, alone = NextRoot(BUREAU), NextRoot(foreign_pki(), "root 9")
    for handover in (alone.handover, alone.root, genuine.root, genuine.handover, BUREAU.root):
        with pytest.raises((TrustRefused, TaxferryError)):
            successor(trust_file(), roots=(BUREAU.root, alone.root), handovers=(handover,))


def test_a_handover_to_another_key_of_the_same_name_is_refused() -> None:
    new = NextRoot(BUREAU)
    other = make_root(BUREAU.key("rsa", "other"), new.root.subject, not_before=NOT_BEFORE, not_after=NOT_AFTER)
    with pytest.raises(TrustRefused):
        successor(trust_file(), roots=(BUREAU.root, other), handovers=(new.handover,))


def test_a_handover_that_is_no_authority_is_refused() -> None:
    new = NextRoot(BUREAU)
    leaf = make_certificate(
        Role.CARD,
        new.key.public_key(),
        new.root.subject,
        issuer=BUREAU.root,
        issuer_key=BUREAU.root_key,
        not_before=NOT_BEFORE,
        not_after=NOT_AFTER,
    )
    with pytest.raises(TrustRefused):
        successor(trust_file(), roots=(BUREAU.root, new.root), handovers=(leaf,))


def test_a_root_that_does_not_sign_itself_is_refused() -> None:
    for certificate in (BUREAU.issuing, BUREAU.card().certificate):
        with pytest.raises(CertificateRefused):
            TrustFile(version=1, issued_at=NOW, roots=(certificate,))


def test_a_history_that_was_rewritten_is_refused() -> None:
    current = prove_trust(signed_trust(with_second_root(trust_file())), root=BUREAU.root, at=NOW)
    other = with_second_root(trust_file(), NextRoot(BUREAU, "root 2b"), version=9)
    with pytest.raises(TrustRefused):
        prove_trust(signed_trust(other), root=current, at=NOW)


# --- rollback and mixing --------------------------------------------------------------------------------------------


def test_the_file_in_force_may_come_again() -> None:
    current = prove_trust(signed_trust(trust_file()), root=BUREAU.root, at=NOW)
    assert prove_trust(signed_trust(trust_file()), root=current, at=NOW) == current


def test_an_older_file_is_outdated() -> None:
    current = prove_trust(signed_trust(trust_file(version=5)), root=BUREAU.root, at=NOW)
    for version in (1, 4):
        with pytest.raises(Outdated, match="5"):
            prove_trust(signed_trust(trust_file(version=version)), root=current, at=NOW)


def test_an_older_file_from_before_a_handover_is_outdated_too() -> None:
    current = prove_trust(signed_trust(with_second_root(trust_file())), root=BUREAU.root, at=NOW)
    with pytest.raises(Outdated):
        prove_trust(signed_trust(trust_file()), root=current, at=NOW)


def test_another_content_under_the_same_version_is_refused() -> None:
    current = prove_trust(signed_trust(trust_file()), root=BUREAU.root, at=NOW)
    with pytest.raises(TrustRefused):
        prove_trust(signed_trust(trust_file(calendar={"2026-08": 31})), root=current, at=NOW)


@pytest.mark.parametrize(
    "older",
    [
        lambda t: {"crls": BUREAU.crls(number=6)},
        lambda t: {"crls": BUREAU.crls(number=7)[1:]},
        lambda t: {"crls": ()},
        lambda t: {"issued_at": t.issued_at - DAY},
        lambda t: {"roots": t.roots[:1], "handovers": (), "first_root": 1},
    ],
    ids=["crl number", "crl gone", "no crls", "time", "roots"],
)
def test_a_newer_file_with_an_older_part_is_refused(older: Callable[[TrustFile], dict[str, Any]]) -> None:
    new = NextRoot(BUREAU)
    base = trust_file(crls=BUREAU.crls(number=7), version=3)
    current = replace(with_second_root(base, new), crls=BUREAU.crls(number=7))
    mixed = successor(current, **older(current))
    with pytest.raises(TrustRefused):
        prove_trust(signed_trust(mixed), root=current, at=NOW)


def test_a_newer_file_cannot_bring_a_retired_root_back() -> None:
    both = with_second_root(trust_file())
    current = replace(both, first_root=2)
    with pytest.raises(TrustRefused):
        prove_trust(signed_trust(successor(both)), root=current, at=NOW)


def test_a_newer_file_with_the_same_lists_is_accepted() -> None:
    current = prove_trust(signed_trust(trust_file()), root=BUREAU.root, at=NOW)
    newer = successor(current, calendar={"2026-10": 26})
    assert prove_trust(signed_trust(newer), root=current, at=NOW).calendar == {"2026-10": 26}


def test_a_revoked_trust_key_cannot_sign_its_revocation_away() -> None:  # TRUST-9
    other_key = BUREAU.key("rsa", "trust 2")
    name = authority_name("trust 2")
    other = SoftSigner(other_key, BUREAU.leaf(Role.TRUST, name, other_key), (BUREAU.issuing,))
    revoking = trust_file(version=2, crls=BUREAU.crls([BUREAU.trust_signer.certificate], number=2))
    current = prove_trust(signed_trust(revoking, by=other), root=BUREAU.root, at=NOW)
    # The revoked key names neither the list nor the authority whose list it is, or a later list that takes it back.
    attempts: tuple[dict[str, Any], ...] = (
        {"crls": (), "intermediates": ()},
        {"crls": ()},
        {"crls": BUREAU.crls(number=1)},
        {"crls": BUREAU.crls(number=3)},
    )
    for changes in attempts:
        with pytest.raises(CertificateRefused):
            prove_trust(signed_trust(successor(current, **changes)), root=current, at=NOW)


# --- what is current ------------------------------------------------------------------------------------------------


def test_a_report_is_sealed_to_the_envelope_certificates_that_are_acceptable_now() -> None:
    trust = trust_file()
    assert trust.envelope_certificates(NOW) == (BUREAU.envelope.certificate, BUREAU.envelope_p256.certificate)
    revoked = trust_file(crls=BUREAU.crls([BUREAU.envelope.certificate], number=2))
    assert revoked.envelope_certificates(NOW) == (BUREAU.envelope_p256.certificate,)
    assert trust.envelope_certificates(NOT_AFTER + DAY) == ()


def test_an_outdated_list_is_a_warning() -> None:
    trust = trust_file(crls=BUREAU.crls(next_update=NOW - DAY))
    found = prove_trust(signed_trust(trust), root=BUREAU.root, at=NOW)
    assert any("revocation list" in warning.en for warning in found.warnings)
    assert found == trust


# --- limits and spellings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"first_root": 0},
        {"first_root": 2},
        {"roots": ()},
        {"handovers": (BUREAU.root,)},
        {"intermediates": (BUREAU.issuing,) * 17},
        {"crls": BUREAU.crls() * 9},
        {"calendar": {"2026-13": 1}},
        {"calendar": {"2026-02": 30}},
        {"calendar": {"2026-02": 0}},
        {"calendar": {f"{2000 + n}-01": 15 for n in range(121)}},
        {"gateways": ("ftp://x",)},
        {"gateways": ("https://税局",)},
        {"gateways": ("https://x y",)},
        {"gateways": ("https://x",) * 9},
        {"certificates": {Role.CARD: ()}},
    ],
)
def test_a_file_that_no_reader_would_take_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        trust_file(**changes)


def test_a_certificate_under_another_role_is_refused() -> None:
    with pytest.raises(CertificateRefused):
        trust_file(certificates={Role.BUREAU_ENVELOPE: (BUREAU.bureau_result.certificate,)})


def body_lines() -> list[str]:
    return render_trust_body(trust_file()).decode().split("\r\n")[:-1]


def joined(lines: list[str]) -> bytes:
    return "".join(line + "\r\n" for line in lines).encode()


@pytest.mark.parametrize("number", range(15))
def test_no_line_may_be_doubled_or_swapped(number: int) -> None:
    lines = body_lines()
    doubled = lines[: number + 1] + lines[number:]
    swapped = (
        [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]] if number + 1 < len(lines) else []
    )
    for altered in filter(None, (doubled, swapped)):
        with pytest.raises((TrustFileInvalid, TrustRefused)):
            parse_trust_body(joined(altered))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("信任文件 1", "信任文件 01"),
        ("信任文件 1", "信任文件"),
        ("信任文件 1", "信任文件 0"),
        ("信任文件 1", "报税结果 1"),
        ("格式: 1", "格式: 2"),
        ("最早有效根: 1", "最早有效根: 2"),
        ("签发机构 1", "签发机构 2"),
        ("证书 bureau-result 1", "证书 card 1"),
        ("证书 bureau-result 1", "证书 trust 1"),
        ("申报截止 2026-08: 17", "申报截止 2026-08: 017"),
        ("申报截止 2026-08: 17", "申报截止 2026-10: 17"),
        ("根证书 1: MII", "根证书 1: MIJ"),
        ("根证书 1: MII", "根证书 1: -MII"),
        ("吊销列表 1: MII", "吊销列表 1: MIA"),
        ("吊销列表 1: ", "吊销列表 1: AAAA"),
    ],
)
def test_other_spellings_are_refused(old: str, new: str) -> None:
    text = render_trust_body(trust_file()).decode()
    assert old in text
    with pytest.raises(TrustFileInvalid):
        parse_trust_body(text.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    "value",
    [
        base64.b64encode(b"\x30" * 9000).decode(),
        "A" * 60_000,
        base64.b64encode(BUREAU.issuing.public_bytes(Encoding.DER) + b"\x00").decode(),
        base64.b64encode(BUREAU.issuing.public_bytes(Encoding.DER)[:-1]).decode(),
        base64.b64encode(BUREAU.crls()[0].public_bytes(Encoding.DER)).decode(),
        "",
    ],
    ids=["large", "larger", "trailing", "short", "a list", "empty"],
)
def test_an_entry_that_is_no_certificate_is_refused(value: str) -> None:
    lines = [f"签发机构 1: {value}".rstrip() if line.startswith("签发机构 1") else line for line in body_lines()]
    with pytest.raises(TrustFileInvalid):
        parse_trust_body(joined(lines))


def test_more_certificates_than_permitted_are_refused_before_the_rest_is_parsed() -> None:
    lines = body_lines()
    at = next(n for n, line in enumerate(lines) if line.startswith("签发机构 1"))
    lines[at:at] = [f"签发机构 {n}: {lines[at].split(': ')[1]}" for n in range(100)]
    with pytest.raises(TrustFileInvalid, match="16"):
        parse_trust_body(joined(lines))


@pytest.mark.parametrize("data", [b"", b"Y", b"\x00" * 100, b"-----BEGIN CMS-----\r\n"])
def test_what_is_no_trust_file_is_refused(data: bytes) -> None:
    with pytest.raises(TrustFileInvalid):
        prove_trust(data, root=BUREAU.root, at=NOW)


def test_a_file_above_the_limit_is_refused_by_its_size() -> None:
    with pytest.raises(TrustFileInvalid, match=str(MAX_TRUST_BYTES)):
        prove_trust(b"x" * (MAX_TRUST_BYTES + 1), root=BUREAU.root, at=NOW)


def test_a_signed_text_of_another_kind_is_refused() -> None:
    data = sign_text("税渡 报税结果 1\r\n".encode(), BUREAU.trust_signer, signing_time=NOW)
    with pytest.raises(TrustFileInvalid):
        prove_trust(data, root=BUREAU.root, at=NOW)


def test_every_bit_of_the_text_counts() -> None:
    data = signed_trust(trust_file())
    for position in range(0, len(data), 37):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        with pytest.raises(TaxferryError):
            prove_trust(bytes(altered), root=BUREAU.root, at=NOW)


def test_the_vector_of_the_specification_is_proven_by_its_first_root() -> None:
    root = x509.load_pem_x509_certificate((VECTORS / "root.pem").read_bytes())
    found = prove_trust((VECTORS / "trust.txt").read_bytes(), root=root, at=NOW)
    assert found.version == 2
    assert found.roots[0] == root
    assert found.roots_in_force == found.roots
    assert len(found.crls) == 3
    assert found.calendar == {"2026-08": 17, "2026-09": 15}
    assert read_signed_trust((VECTORS / "trust.txt").read_bytes())[0] == found

"""What the bureau issues is what readers accept, and stock tools too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.envelope.roles import CardIdentity, Role, card_identity, role_of, station_taxpayer
from shared.ids import MachineNo, TaxpayerId
from shared.model.result import render_result
from tax_bureau.issue import card_name, certificate_pem, new_key, station_name
from tests.support.pki import NOW, TAXPAYER, pki
from tests.support.texts import signed, success

P = pki()
openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def test_keys_are_of_the_two_kinds() -> None:
    one, other = new_key("rsa"), new_key("p256")
    assert isinstance(one, rsa.RSAPrivateKey)
    assert one.key_size == 2048
    assert isinstance(other, ec.EllipticCurvePrivateKey)
    assert isinstance(other.curve, ec.SECP256R1)


@pytest.mark.parametrize("role", [Role.BUREAU_RESULT, Role.TRUST])
def test_a_certificate_carries_the_role_that_was_asked_for(role: Role) -> None:
    assert role_of(P.signer(role).certificate) is role


def test_serial_numbers_differ_unless_given() -> None:
    serials = {P.card(machine_no=n, key_type="p256").certificate.serial_number for n in range(5)}
    assert len(serials) == 5
    assert min(serials) > 0


def test_long_names_are_cut_to_what_a_subject_holds() -> None:
    identity = CardIdentity(TaxpayerId("310100000000000"), MachineNo(0), "T" * 40)
    name = card_name("很长的名称" * 40, identity)
    value = name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    assert len(value) == 64


def test_subjects_are_read_back() -> None:
    assert card_identity(P.card(machine_no=3).certificate).machine_no == 3
    assert station_taxpayer(P.station().certificate) == TAXPAYER
    assert station_name("x", TAXPAYER) != station_name("y", TAXPAYER)


def test_revocation_lists_name_what_was_revoked() -> None:
    card = P.card().certificate
    root_list, issuing_list = P.crls([card, P.issuing], number=3)
    assert issuing_list.get_revoked_certificate_by_serial_number(card.serial_number) is not None
    assert root_list.get_revoked_certificate_by_serial_number(P.issuing.serial_number) is not None
    assert root_list.get_revoked_certificate_by_serial_number(card.serial_number) is None
    assert issuing_list.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3


def run(*arguments: Any) -> subprocess.CompletedProcess[bytes]:
    """Run openssl."""
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False)


@openssl
def test_openssl_accepts_the_chain_and_the_lists(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(certificate_pem(P.root))
    (tmp_path / "issuing.pem").write_text(certificate_pem(P.issuing))
    (tmp_path / "card.pem").write_text(certificate_pem(P.card().certificate))

    def verify(crls: tuple[x509.CertificateRevocationList, ...]) -> subprocess.CompletedProcess[bytes]:
        (tmp_path / "crls.pem").write_bytes(b"".join(crl.public_bytes(Encoding.PEM) for crl in crls))
        files = ("-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem")
        return run(
            "verify", "-x509_strict", "-crl_check_all", "-CRLfile", tmp_path / "crls.pem", *files, tmp_path / "card.pem"
        )

    good = verify(P.crls())
    assert good.returncode == 0, good.stderr
    assert b"revoked" in verify(P.crls([P.card().certificate])).stderr


@openssl
@pytest.mark.parametrize("editor", [lambda d: d, lambda d: d.replace(b"\r\n", b"\n")], ids=["crlf", "lf"])
def test_openssl_verifies_a_result_as_the_specification_shows(tmp_path: Path, editor: Any) -> None:
    data = editor(signed(success(), at=NOW))
    (tmp_path / "R.txt").write_bytes(data)
    (tmp_path / "body.txt").write_bytes(data[: data.index(b"-----BEGIN CMS")])
    (tmp_path / "root.pem").write_text(certificate_pem(P.root))
    command = ("cms", "-verify", "-inform", "PEM", "-in", tmp_path / "R.txt", "-content", tmp_path / "body.txt")
    good = run(*command, "-CAfile", tmp_path / "root.pem")
    assert good.returncode == 0, good.stderr
    assert good.stdout == render_result(success())
    (tmp_path / "body.txt").write_bytes(data[: data.index(b"-----BEGIN CMS")].replace(b"17", b"18"))
    assert run(*command, "-CAfile", tmp_path / "root.pem").returncode != 0

"""What the Internet PC believes: the pinned root, and trust files whose versions only grow."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from online_station.shell.trust import TRUST_NAME, Trust
from shared.envelope.roles import Role
from shared.errors import CertificateRefused, Outdated
from shared.keys.file import SoftSigner
from shared.model.trust import TrustFile, render_trust
from tax_bureau.issue import authority_name
from tests.support.pki import DAY, NOW, Pki, foreign_pki, pki


def trust_key(world: Pki, not_after: datetime) -> SoftSigner:
    """Return a trust key whose certificate ends at a moment."""
    key = world.key("p256", "short-lived trust")
    certificate = world.leaf(Role.TRUST, authority_name("short-lived trust"), key, not_after=not_after)
    return SoftSigner(key, certificate, (world.issuing,))


def trust_file(version: int, signer: SoftSigner, world: Pki | None = None) -> bytes:
    world = world or pki()
    made = TrustFile(
        version=version,
        issued_at=NOW + timedelta(minutes=version),
        roots=(world.root,),
        intermediates=(world.issuing,),
        certificates={Role.TRUST: (signer.certificate,)},
        crls=world.crls(number=version),
    )
    return render_trust(made, signer)


@pytest.fixture
def trust(tmp_path):
    found = Trust.pin(tmp_path, pki().root, NOW)
    assert found.adopt(trust_file(2, trust_key(pki(), NOW + DAY)), NOW)
    return found


def test_the_trust_file_in_force_is_there_again_after_a_restart(trust, tmp_path):
    again = Trust(tmp_path, NOW)
    assert again.current is not None
    assert again.current.version == 2


def test_an_older_trust_file_is_refused_after_the_key_of_ours_has_expired(trust, tmp_path):  # TRUST-7
    """Otherwise whoever sits between could bring back an old file, with the keys that were withdrawn since."""
    later = NOW + 2 * DAY
    again = Trust(tmp_path, later)
    with pytest.raises(Outdated):
        again.adopt(trust_file(1, pki().trust_signer), later)
    assert again.current is not None
    assert again.current.warnings, "it should have been renewed by now"
    assert again.adopt(trust_file(3, pki().trust_signer), later)
    assert Trust(tmp_path, later).current.version == 3


def test_a_revoked_trust_key_cannot_sign_its_revocation_away_after_a_restart(tmp_path):  # TRUST-9
    key = trust_key(pki(), NOW + 30 * DAY)
    world = pki()
    revoking = TrustFile(
        version=2,
        issued_at=NOW,
        roots=(world.root,),
        intermediates=(world.issuing,),
        certificates={Role.TRUST: (world.trust_signer.certificate,)},
        crls=world.crls([key.certificate], number=2),
    )
    Trust.pin(tmp_path, world.root, NOW).adopt(render_trust(revoking, trust_key(world, NOW + DAY)), NOW)
    later = NOW + 2 * DAY
    with pytest.raises(CertificateRefused):
        Trust(tmp_path, later).adopt(trust_file(3, key), later)


def test_another_root_makes_the_file_under_the_old_one_worthless(trust, tmp_path):  # TRUST-6
    assert Trust.pin(tmp_path, foreign_pki().root, NOW).current is None


@pytest.mark.parametrize("spoil", [lambda data: data[:-100], lambda data: data.replace(b"\n", b"x", 1), lambda _: b""])
def test_a_damaged_file_is_not_believed_and_the_next_one_is_taken(trust, tmp_path, spoil):
    (tmp_path / TRUST_NAME).write_bytes(spoil((tmp_path / TRUST_NAME).read_bytes()))
    again = Trust(tmp_path, NOW)
    assert again.current is None
    assert again.adopt(trust_file(3, pki().trust_signer), NOW)

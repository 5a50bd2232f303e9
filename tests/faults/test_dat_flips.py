"""A copied report with one octet wrong, cut short, or with something in between: never accepted, never a stranger error.

Every octet of a small report is changed (some of its bits here, all of them in the long profile), with the certificates
and intermediates that come with it, and every length is tried.
"""

from __future__ import annotations

import io
import os
import random

import pytest

from shared.envelope.opening import prove_report
from shared.envelope.roles import Role
from shared.envelope.textsign import prove_text, sign_text
from shared.errors import FormatError, ResultInvalid, TaxferryError, TrustError
from tests.support.pki import NOW, Pki, p256_pki, pki
from tests.support.reports import sealed

THOROUGH = os.environ.get("TAXFERRY_PROFILE") == "long"
WORLDS = {"rsa": pki, "p256": p256_pki}


def report(world: Pki) -> bytes:
    recipients = [world.envelope.certificate, world.envelope_p256.certificate]
    return sealed(world.card(key_type=world.key_type), recipients, world=world)[0]


def is_refused(data: bytes, world: Pki) -> bool:
    """Return whether the reader refuses; any error outside the tree ends the test by itself."""
    try:
        prove_report(io.BytesIO(data), world.trust, at=NOW)
    except (FormatError, TrustError):
        return True
    return False


def text_is_refused(data: bytes, world: Pki) -> bool:
    try:
        prove_text(data, Role.BUREAU_RESULT, world.trust, at=NOW, error=ResultInvalid)
    except TaxferryError:
        return True
    return False


def masks(position: int) -> list[int]:
    """Return what to change of an octet: over eight neighbours every bit comes once, and one octet has all flipped."""
    return [1 << bit for bit in range(8)] + [0xFF] if THOROUGH else [1 << position % 8, 0xFF]


def flipped(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes((data[position] ^ mask,)) + data[position + 1 :]


@pytest.mark.parametrize("kind", WORLDS)
def test_no_changed_octet_is_accepted(kind: str) -> None:  # ENV-1, ENV-13
    world = WORLDS[kind]()
    data = report(world)
    assert not is_refused(data, world)
    accepted = [
        (position, mask)
        for position in range(len(data))
        for mask in masks(position)
        if not is_refused(flipped(data, position, mask), world)
    ]
    assert accepted == []


@pytest.mark.parametrize("kind", WORLDS)
def test_no_truncation_is_accepted(kind: str) -> None:  # ENV-4
    world = WORLDS[kind]()
    data = report(world)
    assert [length for length in range(len(data)) if not is_refused(data[:length], world)] == []


def test_no_octet_too_many_or_too_few_is_accepted() -> None:  # ENV-4
    world = p256_pki()
    data = report(world)
    chance = random.Random(11)
    for _ in range(400):
        position = chance.randrange(len(data) + 1)
        assert is_refused(data[:position] + chance.randbytes(1) + data[position:], world)
        assert is_refused(data[:position] + data[position + chance.randrange(1, 5) :], world) or position == len(data)


def test_no_two_blocks_of_the_file_can_change_places() -> None:
    # What a file system puts together wrongly after a stick was pulled.
    world = p256_pki()
    data = report(world)
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    for one in range(len(blocks)):
        for other in range(one + 1, len(blocks)):
            mixed = list(blocks)
            mixed[one], mixed[other] = mixed[other], mixed[one]
            assert is_refused(b"".join(mixed), world)
        zeroed = [*blocks[:one], bytes(len(blocks[one])), *blocks[one + 1 :]]
        assert is_refused(b"".join(zeroed), world)


def test_two_reports_cannot_be_spliced() -> None:  # ENV-8
    world = p256_pki()
    first, second = report(world), report(world)
    for position in range(60, min(len(first), len(second)), 7):
        for mixed in (first[:position] + second[position:], second[:position] + first[position:]):
            assert mixed in (first, second) or is_refused(mixed, world)


def test_noise_is_refused() -> None:
    chance = random.Random(12)
    data = report(p256_pki())
    for _ in range(500):
        keep = chance.randrange(0, 200)
        assert is_refused(data[:keep] + chance.randbytes(chance.randrange(1, 3000)), p256_pki())


TEXT = "税渡 样例 1\r\n税号: 310100000000000\r\n金额: 100.00\r\n".encode()


@pytest.mark.parametrize("kind", WORLDS)
def test_no_changed_octet_of_a_signed_text_is_accepted(kind: str) -> None:  # TXT-6
    world = WORLDS[kind]()
    data = sign_text(TEXT, world.bureau_result, signing_time=NOW)
    accepted = [
        (position, mask)
        for position in range(len(data))
        for mask in [*masks(position), 0x20, 0x0A]
        if not text_is_refused(flipped(data, position, mask), world)
    ]
    assert accepted == []


@pytest.mark.parametrize("kind", WORLDS)
def test_no_truncation_of_a_signed_text_is_accepted(kind: str) -> None:  # TXT-5
    world = WORLDS[kind]()
    data = sign_text(TEXT, world.bureau_result, signing_time=NOW)
    assert [length for length in range(len(data)) if not text_is_refused(data[:length], world)] == []

"""Many files as one: what a container is, what is none, and what is left of a damaged one."""

from __future__ import annotations

import errno
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import ContainerDamaged, ExitCode
from shared.medium import Direction
from shared.medium.container import (
    MAX_BYTES,
    MAX_MEMBERS,
    Member,
    container_name,
    plan,
    read,
    split,
    write,
)
from shared.medium.names import recognise_container
from tests.support.containers import ACK, DAT, FILES, SUB, TXT, member, pack, unpack

SPEC = Path(__file__).parents[4] / "docs" / "spec" / "stick.md"
ZEROS = "0" * 64


def repaired(header: bytes) -> bytes:
    """Return a header with the checksum that it ought to have."""
    total = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
    return header[:148] + b"%06o\0 " % total + header[156:]


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """Return a container whose first header says something else, and has the right checksum for it."""
    return repaired(data[:at] + new + data[at + len(new) : 512]) + data[512:]


def many(count: int, size: int = 1) -> list[Member]:
    """Return members of one machine's ad hoc copies, in order."""
    return [
        Member(
            f"310100000000000_0_2020{1 + n // 600:02d}{1 + n % 25:02d}0{1 + n // 25 % 8}{n // 200 % 3 + 10}.dat",
            size,
            ZEROS,
        )
        for n in range(count)
    ]


def test_what_was_packed_is_what_is_read() -> None:
    planned, data = pack(FILES)
    found, read_plan, error = unpack(data)
    assert error is None
    assert found == FILES
    assert read_plan == planned
    assert list(found) == sorted(FILES)


def test_the_example_of_the_specification_is_what_is_written() -> None:
    """STICK-15, STICK-16 and STICK-17, by the digest of the whole."""
    text = SPEC.read_text(encoding="utf-8").split("### Worked example")[1]
    planned, data = pack({ACK: b"first\n", DAT: b"second\n"})
    manifest = re.search(r"```json\n(.*)\n```", text)
    said = re.search(r"is `([^`]+)`, has (\d+) octets and the SHA-256 `([0-9a-f]{64})`", text)
    assert manifest is not None
    assert said is not None
    assert manifest[1].encode() == planned.manifest
    assert said.groups() == (planned.name, str(len(data)), hashlib.sha256(data).hexdigest())


def test_packing_again_in_another_order_makes_the_same_file() -> None:
    """STICK-17: no time and no station."""
    assert pack(FILES) == pack(dict(reversed(FILES.items())))


def test_the_name_depends_on_every_member() -> None:
    """STICK-18."""
    planned, _ = pack(FILES)
    other, _ = pack({**FILES, ACK: b"First\n"})
    assert planned.name == container_name(planned.manifest)
    assert planned.name == f"batch-{hashlib.sha256(planned.manifest).hexdigest()[:16]}.tar"
    assert planned.name != other.name


@pytest.mark.parametrize(
    "name",
    [
        "batch-0123456789abcdef.tar",
        "batch-0123456789abcdef (1).tar",
        "batch-0123456789abcdef - 副本.tar",
        "batch-0123456789abcdef - 副本 (2).tar",
        "batch-0123456789abcdef - Copy.tar",
        "batch-0123456789abcdef.tar (1)",
        " BATCH-0123456789ABCDEF.TAR",
        "ｂatch-0123456789abcdef.tar",
    ],
)
def test_a_name_that_people_changed_is_recognised(name: str) -> None:
    """STICK-18."""
    assert recognise_container(name) == "batch-0123456789abcdef.tar"


@pytest.mark.parametrize(
    "name",
    [
        "batch-0123456789abcde.tar",
        "batch-0123456789abcdef0.tar",
        "batch-0123456789abcdeg.tar",
        "batch-0123456789abcdef.tar.gz",
        "batch-0123456789abcdef",
        "../batch-0123456789abcdef.tar",
        "batch-0123456789abcdef.tar" + " (1)" * 20,
        DAT,
    ],
)
def test_another_name_is_no_container(name: str) -> None:
    assert recognise_container(name) is None


# What cannot be packed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        [],
        [Member(DAT, 0, ZEROS)],
        [Member(ACK, (1 << 16) + 1, ZEROS)],
        [Member(DAT, MAX_BYTES, ZEROS)],
        [Member(DAT, 1, ZEROS), Member(DAT, 2, ZEROS)],
        [Member(DAT, 1, ZEROS), Member(TXT, 1, ZEROS)],
        [Member(TXT, 1, ZEROS)],
        [Member("trust.txt", 1, ZEROS)],
        [Member("manifest.json", 1, ZEROS)],
        [Member(DAT.upper(), 1, ZEROS)],
        [Member("a/" + DAT, 1, ZEROS)],
        [Member(DAT, 1, ZEROS[1:])],
        many(MAX_MEMBERS + 1),
    ],
    ids=lambda members: f"{len(members)}-{members[0].name}-{members[0].size}" if members else "none",
)
def test_what_is_no_container_is_not_planned(members: list[Member]) -> None:
    """STICK-14, STICK-15, STICK-19."""
    with pytest.raises(ValueError):
        plan(members, Direction.TO_ONLINE)


def test_results_and_the_trust_file_travel_together() -> None:
    """STICK-14."""
    files = {TXT: b"y", "trust.txt": b"z"}
    planned, data = pack(files, Direction.TO_OFFLINE)
    assert b'"direction":"to-offline"' in planned.manifest
    assert unpack(data)[:2] == (files, planned)


def test_the_most_that_fits_is_planned() -> None:
    """STICK-19."""
    members = many(MAX_MEMBERS)
    assert len(plan(members, Direction.TO_ONLINE).members) == MAX_MEMBERS
    exact = MAX_BYTES - 512 - 512 - 512 - 1024
    assert plan([Member(DAT, exact, ZEROS)], Direction.TO_ONLINE).size == MAX_BYTES
    with pytest.raises(ValueError, match=str(MAX_BYTES + 512)):
        plan([Member(DAT, exact + 1, ZEROS)], Direction.TO_ONLINE)


def test_split_makes_full_containers_and_loses_nothing() -> None:
    """STICK-19."""
    members = many(MAX_MEMBERS + 400)
    lists = split(reversed(members))
    assert [len(each) for each in lists] == [MAX_MEMBERS, 400]
    assert [m for each in lists for m in each] == sorted(members)
    large = many(40, 100_000_000)
    lists = split(large)
    assert [len(each) for each in lists] == [10, 10, 10, 10]
    assert all(plan(each, Direction.TO_ONLINE).size <= MAX_BYTES for each in lists)


def test_what_fits_no_container_stands_alone() -> None:
    small, large = many(3), Member("310100000000000_0_202006010000.dat", MAX_BYTES, ZEROS)
    lists = split([*small, large, Member(SUB, 1, ZEROS)])
    assert [large] in lists
    assert sorted(m for each in lists for m in each) == sorted([*small, large, Member(SUB, 1, ZEROS)])


# Writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [b"secon", b"secondly", b"Second", b""], ids=["shorter", "longer", "other", "empty"])
def test_a_member_that_changed_since_it_was_planned_ends_the_writing(now: bytes) -> None:
    planned = plan([member(DAT, b"second")], Direction.TO_ONLINE)
    out = io.BytesIO()
    with pytest.raises(OSError, match=DAT) as caught:
        write(planned, lambda _: io.BytesIO(now), out.write)
    assert caught.value.errno == errno.EAGAIN
    assert len(out.getvalue()) <= 512 + 6
    assert unpack(out.getvalue())[1] is None


class Pattern(io.RawIOBase):
    """A long file that takes no memory, and remembers the largest piece that was asked for."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        self.largest = max(self.largest, size)
        piece = min(size, self.left)
        self.left -= piece
        return bytes(piece)


def test_a_large_member_passes_in_small_pieces() -> None:
    """STICK-20: in memory that does not depend on the size."""
    size = 20_000_000
    source, pieces = Pattern(size), list[int]()
    planned = plan([Member(DAT, size, hashlib.sha256(bytes(size)).hexdigest())], Direction.TO_ONLINE)
    write(planned, lambda _: source, lambda data: pieces.append(len(data)))  # type: ignore[arg-type,return-value]
    assert sum(pieces) == planned.size
    assert max(pieces) <= 1 << 20
    assert source.largest <= 1 << 20


# Reading ---------------------------------------------------------------------------------------------------------


class Counting(io.BytesIO):
    """Bytes that remember how far and in how large pieces they were read."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0
        self.largest = max(self.largest, size)
        return super().read(size)


def test_an_entry_says_what_it_claims_to_be() -> None:
    _, data = pack(FILES)
    entries = list(read(io.BytesIO(data), len(data)))
    assert [(e.name, e.size, e.suffix) for e in entries] == [(n, len(d), n[-4:]) for n, d in FILES.items()]
    assert [str(e.report) + e.suffix for e in entries] == [*FILES]


def test_what_the_caller_does_not_read_is_skipped_and_still_compared() -> None:
    planned, data = pack({**FILES, SUB: bytes(3_000_000)})
    file = Counting(data)
    reading = read(file, len(data))
    for entry in reading:
        assert len(entry.read(3)) == 3
        with pytest.raises(ValueError, match="not read yet"):
            _ = entry.sha256
    assert reading.plan == planned
    assert file.largest <= 1 << 20
    altered = data.replace(b"second", b"Second", 1)
    assert unpack(altered)[2] is not None


def test_an_entry_ends_at_its_length() -> None:
    _, data = pack(FILES)
    reading = read(io.BytesIO(data), len(data))
    entry = next(iter(reading))
    assert entry.read(1000) == FILES[ACK]
    assert entry.read(1000) == b""
    with pytest.raises(ValueError, match="limit"):
        entry.read(-1)
    assert next(iter(reading)).name == DAT
    assert entry.read(1000) == b""


def test_a_reading_that_was_left_early_is_not_complete() -> None:
    _, data = pack(FILES)
    reading = read(io.BytesIO(data), len(data))
    for entry in reading:
        if entry.name == SUB:
            break
    assert reading.plan is None


def test_a_copy_that_broke_off_gives_what_had_arrived() -> None:
    """STICK-20: at every length, exactly the members that are whole, and never `complete`."""
    _, data = pack(FILES)
    ends = {ACK: 1024, DAT: 1024 + 512 + 1024, SUB: 1024 + 512 + 1024 + 512 + 1024}
    for length in range(len(data)):
        found, complete, error = unpack(data[:length])
        assert complete is None
        assert error is not None
        assert found == {name: FILES[name] for name, end in ends.items() if end <= length}


def test_a_file_that_is_shorter_than_it_was_listed_is_refused() -> None:
    """STICK-20: within a member the reading of that member fails."""
    _, data = pack(FILES)
    for length in (0, 1, 511, 512, 515, 1024, len(data) - 1):
        assert unpack(data[:length], len(data))[2] is not None
    reading = read(io.BytesIO(data[:515]), len(data))
    entry = next(iter(reading))
    assert entry.read(1000) == b"fir"
    with pytest.raises(ContainerDamaged):
        entry.read(1000)
    with pytest.raises(ContainerDamaged):
        next(iter(reading))


def test_a_file_that_grew_since_it_was_listed_is_refused_after_one_octet_more() -> None:
    """STICK-20."""
    _, data = pack(FILES)
    file = Counting(data + bytes(5000))
    with pytest.raises(ContainerDamaged):
        list(read(file, len(data)))
    assert file.tell() == len(data) + 1


def test_every_altered_octet_is_refused() -> None:
    """STICK-15, STICK-16, STICK-17, STICK-20: three alterations of each octet; what precedes it is still found."""
    _, data = pack(FILES)
    for at in range(len(data)):
        for change in (0x01, 0x20, 0x80):
            altered = bytearray(data)
            altered[at] ^= change
            found, complete, error = unpack(bytes(altered))
            assert complete is None, at
            assert error is not None
            assert error.exit_code is ExitCode.MEDIUM_DAMAGED
            if at >= 1024:
                assert found[ACK] == FILES[ACK]


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, b"../../../../../../../../etc/passwd"),
        (0, b"/10100000000000_0_200807180808.ack"),
        (0, b"310100000000000_0_200807180808.ACK"),
        (0, b"310100000000000_0_200807180808.exe"),
        (0, b"\0"),
        (99, b"x"),
        (100, b"0100644\0"),
        (100, b"0000755\0"),
        (108, b"0001750\0"),
        (124, b"      6 \0 \0 "),
        (124, b"00000000000\0"),
        (124, b"77777777777\0"),
        (124, b"\x80" + bytes(10) + b"\x06"),
        (124, b"-0000000006\0"),
        (136, b"14123456701\0"),
        *[(156, bytes([flag])) for flag in b"\x001234567gxLKDSV"],
        (157, b"/etc/passwd"),
        (257, b"ustar  \0"),
        (257, bytes(8)),
        (265, b"root"),
        (297, b"root"),
        (329, bytes(8)),
        (345, b"up"),
        (500, b"x"),
    ],
)
def test_a_well_made_header_of_another_kind_is_refused(at: int, new: bytes) -> None:
    """STICK-15, STICK-16: with the right checksum; links, devices, folders, pax and GNU extensions among them."""
    _, data = pack({ACK: b"first\n"})
    assert patched(data, 0, data[:9]) == data
    found, complete, error = unpack(patched(data, at, new))
    assert (found, complete) == ({}, None)
    assert error is not None


def blocks(*parts: bytes) -> bytes:
    return b"".join(part + bytes(-len(part) % 512) for part in parts)


def by_hand(names: list[str], *, manifest: Callable[[bytes], bytes] = lambda m: m, end: bytes = bytes(1024)) -> bytes:
    """Return a container of one-octet members in the order given, and a manifest that says the same."""
    from shared.medium import container  # the parts that a hostile writer could build as well

    members = [member(name, b"x") for name in names]
    text = manifest(container._manifest(Direction.TO_ONLINE, members))
    parts = [part for name in names for part in (container._header(name, 1), b"x")]
    return blocks(*parts, container._header("manifest.json", len(text)), text) + end


@pytest.mark.parametrize(
    "data",
    [
        by_hand([]),
        by_hand([DAT, ACK]),
        by_hand([ACK, ACK]),
        by_hand([ACK, TXT]),
        by_hand([ACK, "trust.txt"]),
        by_hand(["readme.txt"]),
        by_hand([ACK, "MANIFEST.json"]),
        by_hand([m.name for m in sorted(many(MAX_MEMBERS + 1))]),
        by_hand([ACK], manifest=lambda m: m + b"\n"),
        by_hand([ACK], manifest=lambda m: m[:-1]),
        by_hand([ACK], manifest=lambda m: b""),
        by_hand([ACK], manifest=lambda m: m.replace(b"to-online", b"to-office")),
        by_hand([ACK], manifest=lambda m: m.replace(b"batch/1", b"batch/2")),
        by_hand([ACK], manifest=lambda m: m.replace(b'":"', b'": "')),
        by_hand([ACK], manifest=lambda m: m.replace(ACK.encode(), DAT.encode())),
        by_hand([ACK], manifest=lambda m: m + bytes(100_000)),
        by_hand([ACK], end=b""),
        by_hand([ACK], end=bytes(512)),
        by_hand([ACK], end=bytes(1025)),
        by_hand([ACK], end=bytes(1536)),
        by_hand([ACK], end=bytes(10240)),
        by_hand([ACK], end=by_hand([DAT])),
        by_hand([ACK], end=bytes(1023) + b"x"),
        blocks(b"") + bytes(1024),
        b"PK\x03\x04" + bytes(1020),
        b"\x1f\x8b\x08" + bytes(1021),
    ],
)
def test_an_archive_of_another_form_is_refused(data: bytes) -> None:
    """STICK-15, STICK-17, STICK-19: order, repetition, other directions, names, manifests and ends."""
    _, complete, error = unpack(data)
    assert complete is None
    assert error is not None
    assert error.code == "B3505"


def test_what_is_made_by_hand_is_read_if_it_is_right() -> None:
    """The other tests would prove nothing if `by_hand` could make no container."""
    found, complete, error = unpack(by_hand([ACK, DAT]))
    assert error is None
    assert complete is not None
    assert found == {ACK: b"x", DAT: b"x"}
    most = by_hand([m.name for m in sorted(many(MAX_MEMBERS))])
    assert unpack(most)[2] is None


def test_what_is_larger_than_any_container_is_not_begun() -> None:
    """STICK-19."""
    file = Counting(pack(FILES)[1])
    with pytest.raises(ContainerDamaged):
        list(read(file, MAX_BYTES + 1))
    assert file.tell() == 0


def test_the_damaged_member_is_named() -> None:
    _, data = pack(FILES)
    _, _, error = unpack(data.replace(b"second", b"Second", 1))
    assert error is not None
    assert DAT in str(error)


def test_a_medium_that_fails_is_not_taken_for_a_damaged_container() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1000:
                raise OSError(errno.EIO, "a bad block")
            return super().read(size)

    _, data = pack(FILES)
    with pytest.raises(OSError, match="a bad block"):
        list(read(Failing(data), len(data)))

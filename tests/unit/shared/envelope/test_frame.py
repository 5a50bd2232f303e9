"""One zstd frame, fed in pieces of any size, never more than its limits."""

from __future__ import annotations

import os

import pytest
import zstandard

from shared.envelope.der import Malformed
from shared.envelope.frame import MAX_WINDOW_BYTES, FrameReader


def read(frame: bytes, *, limit: int, piece: int = 1000) -> bytes:
    reader = FrameReader(limit)
    found = b"".join(block for at in range(0, len(frame), piece) for block in reader.feed(frame[at : at + piece]))
    reader.finish()
    assert reader.total == len(found)
    return found


CONTENTS = [b"", b"x", b"line\n" * 100_000, os.urandom(300_000), b"\x00" * 200_000 + os.urandom(99)]


@pytest.mark.parametrize("content", CONTENTS, ids=len)
@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("piece", [7, 4096, 1 << 20])
def test_a_frame_of_any_make_is_read(content: bytes, checksum: bool, sized: bool, piece: int) -> None:  # ENV-7
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=checksum)
    if sized:
        frame = compressor.compress(content)
    else:
        writer = compressor.compressobj()
        frame = writer.compress(content) + writer.flush()
    assert read(frame, limit=len(content), piece=piece if len(frame) < 100_000 else 4096) == content


def test_a_block_gives_at_most_128_kib() -> None:
    frame = zstandard.ZstdCompressor().compress(b"\x00" * 10_000_000)
    assert max(len(block) for block in FrameReader(10_000_000).feed(frame)) <= 1 << 17


def test_content_beyond_the_limit_is_refused_when_it_is_reached() -> None:  # ENV-11
    writer = zstandard.ZstdCompressor().compressobj()
    frame = writer.compress(b"\x00" * 10_000_000) + writer.flush()
    given: list[int] = []
    with pytest.raises(Malformed):
        given.extend(len(block) for block in FrameReader(1_000_000).feed(frame))
    assert 0 < sum(given) <= 1_000_000


def test_a_size_beyond_the_limit_is_refused_at_the_header() -> None:  # ENV-11
    frame = zstandard.ZstdCompressor().compress(b"\x00" * 10_000_000)
    with pytest.raises(Malformed):
        list(FrameReader(9_999_999).feed(frame[:18]))


@pytest.mark.parametrize(
    ("exponent", "mantissa", "good"), [(13, 0, True), (13, 1, False), (17, 0, False), (31, 7, False)]
)
def test_windows_up_to_8_mib(exponent: int, mantissa: int, good: bool) -> None:  # ENV-7
    assert MAX_WINDOW_BYTES == 1 << 23
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes((exponent << 3 | mantissa,)) + b"\x09\x00\x00x"
    if good:
        assert read(frame, limit=10) == b"x"
    else:
        with pytest.raises(Malformed):
            read(frame, limit=10)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x28\xb5\x2f\xfd\x01\x50\x07\x09\x00\x00x",  # dictionary
        b"\x28\xb5\x2f\xfd\x08\x50\x09\x00\x00x",  # reserved bit
        b"\x28\xb5\x2f\xfd\x10\x50\x09\x00\x00x",  # unused bit
        b"\x28\xb5\x2f\xfd\x00\x50\x0f\x00\x00x",  # reserved kind of block
        b"\x28\xb5\x2f\xfd\x00\x50\x09\x00\x00",  # cut
        b"\x28\xb5\x2f\xfd\x00\x50\x08\x00\x00x",  # no last block
        b"\x28\xb5\x2f\xfd\x00\x50\x09\x00\x00xy",  # something after it
        b"\x28\xb5\x2f\xfd\x00\x50\x01\x00\x20" + b"x" * (1 << 18),  # a block larger than permitted
        b"\x27\xb5\x2f\xfd\x00\x50\x09\x00\x00x",
        b"\x50\x2a\x4d\x18\x00\x00\x00\x00",
        b"",
    ],
)
def test_other_frames_are_refused(frame: bytes) -> None:  # ENV-7
    with pytest.raises(Malformed):
        read(frame, limit=1 << 20)


def test_a_damaged_checksum_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(b"hello")
    with pytest.raises(Malformed):
        read(frame[:-1] + bytes((frame[-1] ^ 1,)), limit=5)

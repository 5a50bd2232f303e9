"""Part texts are read by themselves, in any order, and anything else is refused with a reason (QR-1 to QR-10)."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from pathlib import Path

import pytest
import zstandard

from shared.errors import QrContradicts, QrIncomplete, QrTooLarge
from shared.qr import MAX_CONTENT_BYTES, MAX_PART_LENGTH, PART_BYTES, Part, Parts, Taken, Unreadable, read_parts, split

VECTORS = Path(__file__).parents[3] / "vectors" / "text"
RESULT = (VECTORS / "result.txt").read_bytes()
ALPHANUMERIC = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-")


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def collect(*texts: str) -> Parts:
    parts = Parts()
    for text in texts:
        parts.add(text)
    return parts


def refusals(text: str) -> list[str]:
    return [found.why.zh for found in read_parts(text) if isinstance(found, Unreadable)]


def texts_of(frame: bytes, *, set_id: str = "") -> list[str]:
    """Return the parts of any frame, written from the page and not with our code."""

    def b32(octets: bytes) -> str:
        return base64.b32encode(octets).decode().rstrip("=")

    set_id = set_id or b32(hashlib.sha256(frame).digest())[:12]
    pieces = [frame[at : at + 280] for at in range(0, len(frame), 280)]
    heads = [f"TF1-{set_id}-{n:02}-{len(pieces):02}-{b32(piece)}" for n, piece in enumerate(pieces, 1)]
    return [f"{head}-{b32(zlib.crc32(head.encode()).to_bytes(4, 'big'))}" for head in heads]


def test_the_published_set_is_read_and_written_as_it_stands() -> None:  # QR-1, QR-3
    lines = (VECTORS / "result.qr.txt").read_text().splitlines()
    parts = collect(*lines)
    assert parts.complete() == RESULT
    assert [found.text for line in lines for found in read_parts(line) if isinstance(found, Part)] == lines
    frame = b"".join(found.octets for line in lines for found in read_parts(line) if isinstance(found, Part))
    assert texts_of(frame) == lines


@pytest.mark.parametrize("size", [0, 1, 279, 280, 281, 3927, 20_000])
def test_a_part_has_the_characters_and_sizes_of_the_page(size: int) -> None:  # QR-1, QR-3
    data = noise(size)
    texts = split(data)
    assert set("".join(texts)) <= ALPHANUMERIC
    assert {len(text) for text in texts[:-1]} <= {MAX_PART_LENGTH}
    assert len(texts[-1]) <= MAX_PART_LENGTH
    parts = [found for text in texts for found in read_parts(text)]
    assert all(isinstance(part, Part) and 1 <= len(part.octets) <= PART_BYTES for part in parts)
    assert collect(*texts).complete() == data


def test_what_needs_too_many_codes_is_not_split() -> None:  # QR-2, QR-3
    assert len(split(noise(99 * 280 - 40))) == 99
    with pytest.raises(QrTooLarge):
        split(noise(99 * 280 + 1))
    with pytest.raises(QrTooLarge):
        split(bytes(MAX_CONTENT_BYTES + 1))
    assert collect(*split(bytes(MAX_CONTENT_BYTES))).complete() == bytes(MAX_CONTENT_BYTES)


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) for c in text)


TOLERATED = {
    "small letters": str.lower,
    "full width": full_width,
    "small and full width": lambda text: full_width(text.lower()),
    "blanks and a carriage return": lambda text: f" \t{text}  \r",
    "the symbology before it": lambda text: f"]Q1{text}",
    "a tabulator of the scanner": lambda text: f"{text}\t",
    "a scanner's number before it": lambda text: f"0007:{text}",
    "a dash of a Chinese keyboard": lambda text: text.replace("-", "—"),
    "a minus": lambda text: text.replace("-", "−"),
    "a hyphen that does not break": lambda text: text.replace("-", "\u2011"),
}


@pytest.mark.parametrize("typed", TOLERATED.values(), ids=TOLERATED.keys())
def test_what_keyboards_and_scanners_change_does_not_matter(typed) -> None:  # QR-7, QR-8
    parts = Parts()
    for text in split(RESULT):
        (news,) = parts.add(typed(text))
        assert isinstance(news, Taken)
    assert parts.complete() == RESULT


@pytest.mark.parametrize("between", ["", " ", "\r\n", "\n\n", "]Q1", "；"])
def test_several_parts_may_stand_in_one_line(between: str) -> None:  # QR-8
    texts = split(RESULT)
    parts = Parts()
    assert len(parts.add(between.join(texts))) == len(texts)
    assert parts.complete() == RESULT


def test_what_is_missing_is_told_until_nothing_is() -> None:  # QR-6
    texts = split(RESULT)
    parts = Parts()
    for number in (3, 1, 3, 9):
        parts.add(texts[number - 1])
    (only,) = parts.sets.values()
    assert only.missing == (2, 4, 5, 6, 7, 8, 10)
    with pytest.raises(QrIncomplete, match="已收到 3/10，还缺第 2、4、5、6、7、8、10 张"):
        parts.complete()
    assert only.what_is_missing.en == "3 of 10 received, still missing: 2, 4, 5, 6, 7, 8, 10"
    (again,) = parts.add(texts[2])
    assert isinstance(again, Taken)
    assert again.again


def test_nothing_scanned_is_said_so() -> None:
    with pytest.raises(QrIncomplete, match="没有收到一张"):
        Parts().complete()
    assert Parts().add(" \r\n\u3000") == []


def test_two_results_at_once_are_kept_apart() -> None:  # QR-9
    ours, theirs = split(RESULT), split((VECTORS / "failure.txt").read_bytes())
    parts = collect(*ours[:-1], *theirs[1:])
    first, second = parts.missing.items()
    assert (first[1], second[1]) == ((len(ours),), (1,))
    with pytest.raises(QrIncomplete) as caught:
        parts.complete()
    assert all(set_id in caught.value.text.zh and set_id in caught.value.text.en for set_id in parts.sets)
    parts.add(theirs[0])
    assert parts.complete() == (VECTORS / "failure.txt").read_bytes()
    assert list(parts.missing.values()) == [(len(ours),)]


FIRST = split(RESULT)[0]
LAST = split(RESULT)[-1]


def resealed(text: str) -> str:
    """Return a text with the check that belongs to it."""
    head = text.rpartition("-")[0]
    check = base64.b32encode(zlib.crc32(head.encode()).to_bytes(4, "big")).decode().rstrip("=")
    return f"{head}-{check}"


def test_the_tests_know_the_checksum() -> None:
    assert resealed(FIRST) == FIRST


REFUSED = {
    "clipped": (FIRST[:-1], "不完整"),
    "its beginning lost": (FIRST[5:], "不是报税结果的二维码"),
    "a short beginning": (FIRST[:9], "不完整"),
    "another word": ("https://example.com/", "不是报税结果的二维码"),
    "a digit for a letter": (FIRST[:200] + "0" + FIRST[201:], "不完整"),
    "a letter for another": (FIRST[:200] + ("A" if FIRST[200] != "A" else "B") + FIRST[201:], "校验不符"),
    "two letters swapped": (FIRST[:4] + FIRST[5] + FIRST[4] + FIRST[6:], "校验不符"),
    "another version": ("TF2" + FIRST[3:], "第 2 版"),
    "no such number": (resealed(LAST.replace("-10-10-", "-11-10-")), "不是规定的写法"),
    "number zero": (resealed(LAST.replace("-10-10-", "-00-10-")), "不是规定的写法"),
    "a short piece in the middle": (resealed(LAST.replace("-10-10-", "-09-10-")), "不是规定的写法"),
    "bits beyond the last octet": (resealed(texts_of(b"x")[0].replace("-PA-", "-PB-")), "不是规定的写法"),
    "a length that no octets have": (resealed(texts_of(b"x")[0].replace("-PA-", "-PAA-")), "不是规定的写法"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_part_is_refused_by_itself(text: str, why: str) -> None:  # QR-5
    reasons = refusals(text)
    assert len(reasons) == 1
    assert why in reasons[0]
    parts = Parts()
    news = parts.add(f"{FIRST} {text} {LAST}")
    assert [type(found) for found in news] == [Taken, Unreadable, Taken], "the others are not affected"


def test_a_refusal_names_the_part_where_that_can_be_read() -> None:
    (clipped,) = read_parts(FIRST[:-1])
    (misread,) = read_parts(REFUSED["a letter for another"][0])
    (foreign,) = read_parts("hello, world")
    assert isinstance(clipped, Unreadable)
    assert isinstance(misread, Unreadable)
    assert isinstance(foreign, Unreadable)
    assert (clipped.number, misread.number, foreign.number) == (1, 1, 0)


def test_of_two_parts_that_contradict_each_other_the_first_stays() -> None:  # QR-6
    texts = split(RESULT)
    set_id = texts[0].split("-")[1]
    other = texts_of(noise(280 * 10), set_id=set_id)
    fewer = texts_of(noise(280 * 3), set_id=set_id)
    parts = collect(*texts[:4])
    for text in (other[0], fewer[0]):
        (news,) = parts.add(text)
        assert isinstance(news, Unreadable)
        assert "矛盾" in news.why.zh
    parts.add("".join(texts[4:]))
    assert parts.complete() == RESULT


def test_parts_that_are_whole_and_make_no_whole_are_refused() -> None:  # QR-10
    texts = split(RESULT)
    set_id = texts[0].split("-")[1]
    forged = texts_of(noise(280 * 10), set_id=set_id)[4]
    with pytest.raises(QrContradicts, match="总校验不符"):
        collect(*texts[:4], forged, *texts[5:]).complete()


FRAMES = {
    "a bomb": zstandard.ZstdCompressor().compress(bytes(100 << 20)),
    "one octet too many": zstandard.ZstdCompressor().compress(bytes(MAX_CONTENT_BYTES + 1)),
    "a bomb that does not say so": zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10 << 20)),
    "no frame": b"no frame at all",
    "a frame that ends early": zstandard.ZstdCompressor().compress(RESULT)[:-1],
    "something after the frame": zstandard.ZstdCompressor().compress(RESULT) + b"x",
    "two frames": zstandard.ZstdCompressor().compress(RESULT) * 2,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_what_is_not_one_bounded_frame_is_refused(frame: bytes) -> None:  # QR-2, QR-10
    with pytest.raises(QrContradicts):
        collect(*texts_of(frame)).complete()


def test_another_compressors_frame_is_read() -> None:  # QR-2
    frame = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(RESULT)
    assert collect(*texts_of(frame)).complete() == RESULT

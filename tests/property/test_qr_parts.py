"""QR part texts for all contents: any order, repeated, mixed; and no wrong character passes (QR-5, QR-6)."""

from __future__ import annotations

from pathlib import Path

from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.qr import Part, Parts, Taken, Unreadable, read_parts, split

RESULT = (Path(__file__).parents[1] / "vectors" / "text" / "result.txt").read_bytes()
TEXTS = split(RESULT)
# What a scanner or a keyboard may put in the place of a character: anything that it can type, and Chinese characters.
typed = st.characters(codec="utf-8", exclude_categories=["Cs"]) | st.sampled_from("ABCXYZabc0189-—。，、 \r\n")


@given(st.binary(max_size=6000), st.randoms(use_true_random=False), st.data())
def test_any_order_and_any_repetition_give_the_content(data: bytes, chance, draw: st.DataObject) -> None:
    texts = split(data)
    shuffled = texts + draw.draw(st.lists(st.sampled_from(texts), max_size=8))
    chance.shuffle(shuffled)
    joint = draw.draw(st.sampled_from(["\n", "\r\n", " ", ""]))
    parts = Parts()
    assert all(isinstance(news, Taken) for news in parts.add(joint.join(shuffled)))
    assert parts.complete() == data
    (only,) = parts.sets.values()
    assert only.missing == ()


@given(st.binary(max_size=3000))
def test_reading_undoes_writing(data: bytes) -> None:
    for text in split(data):
        (part,) = read_parts(text)
        assert isinstance(part, Part)
        assert part.text == text


@given(st.sampled_from(TEXTS), st.integers(0, 478), typed)
@example(TEXTS[0], 0, "t")
@example(TEXTS[0], 3, "—")
def test_a_wrong_character_never_gives_another_part(text: str, at: int, character: str) -> None:
    assume(at < len(text))
    (whole,) = read_parts(text)
    found = list(read_parts(text[:at] + character + text[at + 1 :]))
    assert found, "it is never overlooked"
    assert all(isinstance(one, Unreadable) or one == whole for one in found)
    if character.isascii() and character.upper() != text[at]:
        assert all(isinstance(one, Unreadable) for one in found)


@given(st.sampled_from(TEXTS), st.integers(0, 478))
def test_a_lost_character_never_gives_another_part(text: str, at: int) -> None:
    assume(at < len(text))
    found = list(read_parts(text[:at] + text[at + 1 :]))
    assert len(found) == 1
    assert isinstance(found[0], Unreadable)


@given(st.text(max_size=600))
def test_any_text_is_read_without_a_failure(text: str) -> None:
    for found in read_parts(text + TEXTS[0][:40] + text):
        assert isinstance(found, Part | Unreadable)

"""The one spelling of signed JSON and of signed text (FORM-1 to FORM-7)."""

from __future__ import annotations

import pytest

from shared.canonical import (
    MAX_SAFE_INTEGER,
    clean_value,
    parse_json,
    parse_lines,
    render_json,
    render_lines,
    value_fault,
)
from shared.errors import NotCanonical


def test_json_is_sorted_dense_and_utf8() -> None:
    value = {"n": 3, "amount": "-12.50", "name": "上海", "kinds": ["004", None, True], "a": {"z": 1, "b": {}}}
    data = render_json(value)
    assert data == '{"a":{"b":{},"z":1},"amount":"-12.50","kinds":["004",null,true],"n":3,"name":"上海"}'.encode()
    assert parse_json(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\/"}',
        b'{"a":"\xe4\xb8"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"上":1}'.encode(),
        b'{"a":9007199254740992}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
        b'{"a":' + b"[" * 200_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_other_octets_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse_json(data)


def test_the_largest_integers_are_kept() -> None:
    for number in (MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER):
        assert parse_json(render_json({"n": number})) == {"n": number}


@pytest.mark.parametrize("value", [{"a": 1.5}, {"a": MAX_SAFE_INTEGER + 1}, {"上": 1}, {1: 2}, {"a": {1}}, {"a": b"x"}])
def test_what_has_no_canonical_form_is_not_written(value: object) -> None:
    with pytest.raises(ValueError):
        render_json(value)


def test_lines_are_read_back_with_their_title() -> None:
    body = render_lines("标题 1", [("标签", "值: 二"), ("空", ""), ("甲", "乙 丙")])
    assert body == "标题 1\r\n标签: 值: 二\r\n空:\r\n甲: 乙 丙\r\n".encode()
    assert parse_lines(body) == ("标题 1", [("标签", "值: 二"), ("空", ""), ("甲", "乙 丙")])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "标题",
        "标题\n甲: 乙\n",
        "标题\r\n甲: 乙",
        "标题\r\n甲: 乙\r\n\r\n",
        "标题\r\n甲:乙\r\n",
        "标题\r\n甲: \r\n",
        "标题\r\n甲:  乙\r\n",
        "标题\r\n甲: 乙 \r\n",
        "标题\r\n: 乙\r\n",
        "标题\r\n甲\r\n",
        "标题\r\n甲： 乙\r\n",
        " 标题\r\n甲: 乙\r\n",
        "\ufeff标题\r\n甲: 乙\r\n",
        "标题\r\n甲: 乙\u202e丙\r\n",
        "标题\r\n甲: 乙\u200b\r\n",
        "标题\r\n甲: 乙\t丙\r\n",
        "标题\r\n甲: 乙\x00\r\n",
        "标题\r\n甲: 乙\u2028丙\r\n",
        "标题\r\n甲: 乙\x85丙\r\n",
        "标题\r\n甲: -----BEGIN CMS-----\r\n",
        "标题\r\n甲: e\u0301\r\n",
        "标题\r\n甲: \ue000\r\n",
        "标题\r\n甲 : 乙\r\n",
        "标题\r\n甲: \u3000乙\r\n",
        "标题\r\n甲: 乙\r丙\r\n",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(NotCanonical):
        parse_lines(text.encode())


def test_a_text_saved_as_gbk_is_named_as_such() -> None:
    with pytest.raises(NotCanonical) as caught:
        parse_lines("标题\r\n甲: 乙\r\n".encode("gbk"))
    assert "GBK" in str(caught.value)


@pytest.mark.parametrize("code", [0x323B0, 0x3FFFD, 0x2FE0, 0xE0100, 0xFE00, 0x600, 0x378])
def test_unassigned_characters_and_those_of_later_versions_are_taken(code: int) -> None:
    """A station with older tables must not refuse a name that another wrote (FORM-4)."""
    body = f"标题\r\n甲: 张{chr(code)}\r\n".encode()
    assert parse_lines(body) == ("标题", [("甲", f"张{chr(code)}")])
    assert clean_value(f"张{chr(code)}") == f"张{chr(code)}"


@pytest.mark.parametrize(
    "code",
    [
        *(0x00, 0x1F, 0x7F, 0x9F, 0xAD, 0x61C, 0x180E, 0x200B, 0x200F, 0x2028, 0x202E, 0x2060, 0x206F, 0xE000, 0xF8FF),
        *(
            0xFDD0,
            0xFDEF,
            0xFEFF,
            0xFFF9,
            0xFFFB,
            0xFFFE,
            0xFFFF,
            0x1FFFE,
            0xEFFFF,
            0xE0001,
            0xE007F,
            0xF0000,
            0x10FFFF,
        ),
    ],
)
def test_characters_of_the_list_are_refused(code: int) -> None:
    assert value_fault(f"甲{chr(code)}乙") is not None
    assert clean_value(f"甲{chr(code)}乙") == "甲 乙"


@pytest.mark.parametrize(
    ("foreign", "clean"),
    [
        ("  比对\t不通过\r\n请核对  ", "比对 不通过 请核对"),
        ("\u202e逆\u200b序", "逆 序"),
        ("-----BEGIN", "BEGIN"),
        ("- -----x", "- -----x"),
        ("----- -----x", "x"),
        ("-5", "-5"),
        ("e\u0301", "é"),
        ("", ""),
        ("\x00", ""),
    ],
)
def test_foreign_words_are_brought_into_form(foreign: str, clean: str) -> None:
    assert clean_value(foreign) == clean


def test_cleaned_words_are_cut_and_still_in_form() -> None:
    cut = clean_value("字 " * 400, limit=100)
    assert len(cut) <= 100
    assert value_fault(cut) is None


def test_a_writer_does_not_write_what_no_reader_takes() -> None:
    for value in (" x", "x ", "-----x", "a\nb", "e\u0301"):
        with pytest.raises(ValueError, match="标签"):
            render_lines("标题", [("标签", value)])

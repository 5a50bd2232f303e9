"""The result: one spelling, proven before it is read (RES-1 to RES-9)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from shared.clock import CHINA
from shared.envelope.textsign import sign_text
from shared.errors import ResultEmpty, ResultInvalid, SignatureRefused, StillProcessing
from shared.model.result import Result, is_processing, parse_result, prove_result, render_result
from tests.support.pki import NOW, pki
from tests.support.texts import PERIOD, failure, name_of, signed, success

VECTORS = Path(__file__).parents[3] / "vectors" / "text"


def test_a_success_is_written_as_specified() -> None:
    assert render_result(success()).decode().split("\r\n") == [
        "税渡 报税结果 1",
        "税号: 310100000000000",
        "分机号: 0",
        "卡号: TC0000000000",
        "抄税时间: 200807180808",
        "报告摘要: " + "6f" * 32,
        "清卡随机数: " + "ab" * 16,
        "受理回执: R2008071800001",
        "结果序号: 17",
        "上次清卡回执: 16",
        "结果: 报税成功",
        "错误号:",
        "说明:",
        "税局时间: 2008-07-18T08:23:11+08:00",
        "锁死日期: 2008-08-15",
        "下期起始: 2008-08-01",
        "上传截止日期: 2008-08-15",
        "离线开票时长: 72",
        "离线限额 004: 1000000.00",
        "离线限额 007: 50000.00",
        "",
    ]


def test_the_authority_lines_of_a_failure_are_empty() -> None:
    lines = render_result(failure()).decode().split("\r\n")
    assert lines[10:13] == ["结果: 报税失败", "错误号: 271D", "说明: 申报比对不通过：未查询到申报信息"]
    assert lines[14:] == ["锁死日期:", "下期起始:", "上传截止日期:", "离线开票时长:", ""]


@pytest.mark.parametrize(
    "result",
    [
        success(),
        failure(),
        success(last_acknowledged=None, offline_limits={}, offline_hours=None, upload_deadline=None),
        success(lock_date=None, next_period_start=None),
        success(name=name_of(pki().card(), PERIOD)),
        success(message="附：比对有 1 处提示"),
        failure(code="ERROR@97@x", message="certificate 已作废"),
        success(result_no=2**53 - 1),
        success(offline_hours=0, offline_limits={"007": 0}),
    ],
)
def test_what_is_written_is_read(result: Result) -> None:
    assert parse_result(render_result(result)) == result


def test_a_time_of_another_zone_with_fractions_is_the_same_second() -> None:
    moment = datetime(2008, 7, 18, 0, 23, 11, 345, tzinfo=UTC)
    assert success(bureau_time=moment) == success()


@pytest.mark.parametrize(
    "changes",
    [
        {"card_no": "TC 1"},
        {"card_no": ""},
        {"card_no": "T" * 41},
        {"receipt_no": ""},
        {"receipt_no": "a b"},
        {"result_no": 0},
        {"last_acknowledged": 17},
        {"last_acknowledged": 0},
        {"code": "271D"},
        {"message": "两端 "},
        {"message": "字" * 501},
        {"message": "二\n行"},
        {"offline_hours": -1},
        {"offline_limits": {"4": 1}},
        {"offline_limits": {"004": -1}},
        {"offline_limits": {f"{n:03d}": 1 for n in range(33)}},
        {"bureau_time": datetime(2008, 7, 18)},  # noqa: DTZ001
        {"name": name_of(pki().card(), PERIOD), "lock_date": None},
        {"name": name_of(pki().card(), PERIOD), "next_period_start": None},
    ],
)
def test_a_success_that_no_reader_would_take_is_not_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        success(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": ""},
        {"code": "271 D"},
        {"message": ""},
        {"lock_date": date(2008, 8, 15)},
        {"offline_hours": 0},
        {"offline_limits": {"004": 1}},
    ],
)
def test_a_failure_that_authorises_something_or_explains_nothing_is_not_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        failure(**changes)


def lines_of(result: Result) -> list[str]:
    return render_result(result).decode().split("\r\n")[:-1]


def joined(lines: list[str]) -> bytes:
    return "".join(line + "\r\n" for line in lines).encode()


@pytest.mark.parametrize("number", range(18))
def test_no_line_may_be_missing_or_doubled_or_swapped(number: int) -> None:
    lines = lines_of(success())
    for altered in (
        lines[:number] + lines[number + 1 :],
        lines[: number + 1] + lines[number:],
        [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]],
    ):
        with pytest.raises(ResultInvalid):
            parse_result(joined(altered))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("税渡 报税结果 1", "税渡 报税结果 2"),
        ("税渡 报税结果 1", "税渡 清卡回执 1"),
        ("分机号: 0", "分机号: 00"),
        ("分机号: 0", "分机号:"),
        ("结果序号: 17", "结果序号: 017"),
        ("结果序号: 17", "结果序号: 0"),
        ("结果序号: 17", "结果序号: -1"),
        ("结果序号: 17", "结果序号: １７"),
        ("结果序号: 17", "结果序号: 99999999999999999"),
        ("上次清卡回执: 16", "上次清卡回执: 17"),
        ("结果: 报税成功", "结果: 成功"),
        ("结果: 报税成功", "结果: 报税失败"),
        ("错误号:", "错误号: 0000"),
        ("税局时间: 2008-07-18T08:23:11+08:00", "税局时间: 2008-07-18T00:23:11+00:00"),
        ("税局时间: 2008-07-18T08:23:11+08:00", "税局时间: 2008-07-18 08:23:11"),
        ("锁死日期: 2008-08-15", "锁死日期: 20080815"),
        ("锁死日期: 2008-08-15", "锁死日期: 2008-W33-5"),
        ("锁死日期: 2008-08-15", "锁死日期: 2008-02-30"),
        ("锁死日期: 2008-08-15", "锁死日期: 2008-8-15"),
        ("离线开票时长: 72", "离线开票时长: 72.0"),
        ("离线限额 004: 1000000.00", "离线限额 004: 1,000,000.00"),
        ("离线限额 004: 1000000.00", "离线限额 004: 1000000"),
        ("离线限额 004: 1000000.00", "离线限额 4: 1000000.00"),
        ("离线限额 004: 1000000.00", "离线限额 007: 1000000.00"),
        ("离线限额 004: 1000000.00", "离线限额 008: 1000000.00"),
        ("离线限额 004: 1000000.00", "离线限额004: 1000000.00"),
        ("清卡随机数: ab", "清卡随机数: AB"),
        ("报告摘要: 6f", "报告摘要: 6F"),
        ("卡号: TC0000000000", "卡号: TC0000000000\u202e"),
        ("说明:", "说明: "),
        ("说明:", "说明：无"),
        ("抄税时间: 200807180808", "抄税时间: 200807180860"),
    ],
)
def test_other_spellings_are_refused(old: str, new: str) -> None:
    body = render_result(success()).decode()
    assert old in body
    with pytest.raises(ResultInvalid):
        parse_result(body.replace(old, new, 1).encode())


def test_too_many_limits_are_refused_before_they_are_kept() -> None:
    lines = lines_of(success(offline_limits={})) + [f"离线限额 {n:03d}: 1.00" for n in range(40)]
    with pytest.raises(ResultInvalid, match="32"):
        parse_result(joined(lines))


@pytest.mark.parametrize("data", [b"Y", b"Y\r\n", b"Y\n", b"\xef\xbb\xbfY\r\n", b"Y\r\n\r\n"])
def test_y_is_named_as_what_it_is(data: bytes) -> None:
    assert is_processing(data)
    with pytest.raises(StillProcessing):
        prove_result(data, pki().trust, at=NOW)


@pytest.mark.parametrize("data", [b"", b"y", b" Y", b"Y ", b"YY", b"N", b"Y\x00", "Ｙ".encode(), b"Y" + b"\n" * 20])
def test_nothing_else_is_a_y(data: bytes) -> None:
    assert not is_processing(data)


def test_an_empty_file_is_named_as_a_copy_that_never_finished() -> None:
    with pytest.raises(ResultEmpty, match="310100000000000_0_200807180808"):
        prove_result(b"", pki().trust, at=NOW, name="310100000000000_0_200807180808.txt")


@pytest.mark.parametrize("data", [b"\x00" * 4096, b"\xff" * 100, b"hello\r\n", b"\r\n", b"\x30\x80" * 9])
def test_what_is_no_signed_text_is_refused(data: bytes) -> None:
    with pytest.raises(ResultInvalid):
        prove_result(data, pki().trust, at=NOW)


def test_a_file_above_the_limit_is_refused_by_its_size() -> None:
    with pytest.raises(ResultInvalid, match="65536"):
        prove_result(signed(success()) + b"\r\n" * 40_000, pki().trust, at=NOW)


def test_a_result_is_proven_with_its_signer() -> None:
    proven = prove_result(signed(success()), pki().trust, at=NOW)
    assert proven.result == success()
    assert proven.body == render_result(success())
    assert proven.signer == pki().bureau_result.certificate
    assert proven.warnings == ()


def test_two_signatures_over_one_decision_are_the_same_result() -> None:
    one = prove_result(signed(success(), at=NOW), pki().trust, at=NOW)
    two = prove_result(signed(success(), at=NOW - timedelta(hours=1)), pki().trust, at=NOW)
    assert one.body_sha256 == two.body_sha256


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: b"\xef\xbb\xbf" + d,
        lambda d: d.replace(b"\r\n", b"\n"),
        lambda d: b"\xef\xbb\xbf" + d.replace(b"\r\n", b"\n"),
        lambda d: d + b"\r\n\r\n",
        lambda d: d + b"\n",
    ],
    ids=["bom", "lf", "bom+lf", "blank lines", "lf after"],
)
def test_what_an_editor_changes_without_changing_the_meaning_is_tolerated(edit: Callable[[bytes], bytes]) -> None:
    proven = prove_result(edit(signed(success())), pki().trust, at=NOW)
    assert proven.body == render_result(success())


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.decode().encode("gbk"),
        lambda d: d.decode().encode("utf-16"),
        lambda d: b"\r\n" + d,
        lambda d: "备注\r\n".encode() + d,
        lambda d: d + "备注\r\n".encode(),
        lambda d: d + d,
        lambda d: d + d[d.index(b"-----BEGIN") :],
        lambda d: d.replace(b"\r\n", b" \r\n", 1),
        lambda d: d.replace(b"\r\n", b"\n", 1),
        lambda d: d.replace(b"\r\n", b"\r"),
        lambda d: d.replace(b"-----BEGIN CMS-----", b"-----BEGIN PKCS7-----").replace(b"END CMS", b"END PKCS7"),
        lambda d: d[: d.index(b"-----BEGIN")],
        lambda d: d[d.index(b"-----BEGIN") :],
        lambda d: b"\xef\xbb\xbf" * 2 + d,
        lambda d: d.replace("说明:".encode(), "说明:\u200b".encode()),
        lambda d: d + b"\x00",
        lambda d: d + b"\x1a",
        lambda d: d.rstrip(b"\r\n"),
    ],
    ids=[
        "gbk",
        "utf-16",
        "line before",
        "text before",
        "text after",
        "twice",
        "second block",
        "blank at an end",
        "mixed ends",
        "cr",
        "another label",
        "no block",
        "no body",
        "two boms",
        "invisible",
        "nul",
        "ctrl-z",
        "no last line end",
    ],
)
def test_everything_else_is_refused(edit: Callable[[bytes], bytes]) -> None:
    with pytest.raises((ResultInvalid, SignatureRefused)):
        prove_result(edit(signed(success())), pki().trust, at=NOW)


def test_a_signed_body_that_is_no_result_is_refused_although_the_signature_holds() -> None:
    for body in (b"hello\r\n", joined(lines_of(success())[:-3]), joined([*lines_of(success()), "多: 余"])):
        with pytest.raises(ResultInvalid):
            prove_result(sign_text(body, pki().bureau_result, signing_time=NOW), pki().trust, at=NOW)


def test_the_vectors_of_the_specification_are_proven() -> None:
    from cryptography import x509

    from shared.envelope.chain import TrustStore

    trust = TrustStore((x509.load_pem_x509_certificate((VECTORS / "root.pem").read_bytes()),))
    assert prove_result((VECTORS / "result.txt").read_bytes(), trust, at=NOW).result == success()
    assert prove_result((VECTORS / "failure.txt").read_bytes(), trust, at=NOW).result == failure()


def test_results_are_values() -> None:
    assert hash(success()) == hash(success())
    assert dataclasses.asdict(success())["offline_limits"] == {"004": 100_000_000, "007": 5_000_000}
    assert success().bureau_time.tzinfo is CHINA

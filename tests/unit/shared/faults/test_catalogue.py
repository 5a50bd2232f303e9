"""The fault catalogue: complete, in both languages, and found by whatever a person types."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import faults
from shared.errors import ExitCode
from shared.faults import CATALOGUE, Actor, Fault, Resend
from shared.text import Text

# The field's list of common faults, by its letters (it has no K), and what each must say of sending again.
MANUAL = {
    "A": {"locked": Resend.NEVER},
    "B": {"271D-undeclared": Resend.SAME_BYTES},
    "C": {"271D-mismatch": Resend.SAME_BYTES},
    "D": {"2715-reissued-card": Resend.NEVER, "2715-wrong-files": Resend.NEW_REPORT},
    "E": {"272C": Resend.WAIT},
    "F": {"2734-signature": Resend.SAME_BYTES},
    "G": {"2734-envelope": Resend.NEW_REPORT},
    "H": {"2735": Resend.SAME_BYTES},
    "I": {"long-processing": Resend.WAIT},
    "J": {"key-cannot-be-loaded": Resend.SAME_BYTES},
    "L": {
        "network-internet": Resend.SAME_BYTES,
        "network-lan": Resend.SAME_BYTES,
        "network-bureau": Resend.SAME_BYTES,
    },
    "M": {"report-failed": Resend.NEVER},
    "N": {"processing": Resend.WAIT, "peak-load": Resend.WAIT},
}

# Why a card does not copy, report or clear: the questions of the invoicing software's own list.
CLEARING = [
    ("每月都必须抄报税", "monthly-duty"),
    ("没有业务也要抄报", "zero-month"),
    ("何时到办税厅抄报", "hall-copy"),
    ("上报汇总不成功", "summary-upload-failed"),
    ("设备与硬盘同时损坏", "device-and-disk-lost"),
    ("锁死而新购发票没有读入", "unread-volumes"),
    ("没有设置服务器地址", "server-address"),
    ("网络异常", "network-internet"),
    ("没有申报或申报错误", "not-declared-cannot-clear"),
    ("网络延迟", "network-delay"),
    ("申报周期有误", "wrong-declaration-cycle"),
    ("离线限额为零", "offline-limits"),
    ("未上传的发票", "unuploaded-invoices"),
    ("已抄税不能作废", "copied-cannot-void"),
    ("征期内不能退回", "return-forbidden"),
]

CARD_REFUSALS = {
    "JSK155": "clear-other-digest",
    "JSK156": "clear-other-taxpayer",
    "JSK157": "clear-other-time",
    "JSK158": "clear-other-nonce",
    "JSK007": "clear-other-machine",
    "B2302": "clear-older",
    "B2209": "clear-nothing-awaited",
}

ALL = list(CATALOGUE.values())


@pytest.mark.parametrize("letter", MANUAL)
def test_every_fault_of_the_manual_is_there_with_its_rule_for_sending_again(letter: str) -> None:
    assert {f.key: f.resend for f in ALL if f.letter == letter} == MANUAL[letter]


@pytest.mark.parametrize(("question", "key"), CLEARING)
def test_every_cause_of_a_card_that_does_not_clear_is_there(question: str, key: str) -> None:
    assert key in CATALOGUE, question


@pytest.mark.parametrize(("code", "key"), CARD_REFUSALS.items())
def test_every_refusal_of_the_card_is_explained(code: str, key: str) -> None:
    assert key in [f.key for f in faults.search(code)]


@pytest.mark.parametrize("fault", ALL, ids=lambda f: f.key)
def test_a_fault_says_everything_in_both_languages(fault: Fault) -> None:
    texts = [fault.title, fault.cause, fault.safe, fault.where, *fault.steps]
    assert fault.steps
    for text in texts:
        assert isinstance(text, Text)
        assert re.search(r"[\u4e00-\u9fff]", text.zh), text
        assert re.search(r"[A-Za-z]", text.en), text
        assert not re.search(r"[\u4e00-\u9fff]", text.en.replace("补录", "")), text
        assert text.zh == text.zh.strip()
        assert text.en == text.en.strip()
        assert not re.search(r"[。.]$", text.zh), text
    assert fault.actor in faults.ACTORS
    assert fault.resend in faults.RESENDS


@pytest.mark.parametrize("fault", ALL, ids=lambda f: f.key)
def test_a_fault_names_no_product_person_or_number_to_call(fault: Fault) -> None:
    text = " ".join(half for pair in (fault.title, fault.cause, fault.where, *fault.steps) for half in pair)
    assert not re.search(
        r"(?<![0-9A-Za-z])\d{7,}|@|aisino|\.cn|\.com|\.dll|\.exe|BPL|华大|握奇|明华|航信|热线", text, re.IGNORECASE
    ), text


def test_keys_are_unique_and_fit_for_links() -> None:
    assert all(re.fullmatch(r"[0-9A-Za-z-]+", key) for key in CATALOGUE)
    assert all(key == fault.key for key, fault in CATALOGUE.items())


def test_remedies_that_leave_the_software_are_spelled_out() -> None:
    def said(key: str) -> str:
        return " ".join(step.zh for step in CATALOGUE[key].steps)

    assert "办税服务厅" in said("locked")
    assert "补录" in said("2715-reissued-card")
    assert "按季" in said("wrong-declaration-cycle")
    assert "按月" in said("wrong-declaration-cycle")
    assert "存根联" in said("device-and-disk-lost")
    assert "开户登记" in said("2734-signature")
    assert "--reseal" in said("2734-envelope")
    assert "copy --again" in said("2715-wrong-files")


def test_what_must_be_repaired_on_the_invoicing_pc_is_carried_there() -> None:
    carried = {f.key for f in ALL if f.stage_to_offline and f.code.startswith("27")}
    assert carried == {"2715-wrong-files", "2715-reissued-card", "2734-envelope"}


@pytest.mark.parametrize(
    ("code", "words", "key"),
    [
        ("271D", "企业未申报", "271D-undeclared"),
        ("271D", "一窗式比对：申报进项份数 25 ≠ 24", "271D-mismatch"),
        ("271D", "申报数据与抄报数据比对不符", "271D-mismatch"),
        ("271D", "", "271D-undeclared"),
        ("2715", "", "2715-wrong-files"),
        ("2715", "企业上月重发过金税卡", "2715-reissued-card"),
        ("2734", "验证签名失败 0x8204000D", "2734-signature"),
        ("2734", "拆解数字信封失败，错误码：0x82040010", "2734-envelope"),
        ("0x82040010", "", "2734-envelope"),
        ("0x8204000d", "", "2734-signature"),
        (" 272c ", "", "272C"),
        ("Y", "", "processing"),
        ("JSK-21", "", "locked"),
        ("ERROR@97@证书已作废", "", "certificate-revoked"),
    ],
)
def test_a_code_and_the_bureaus_words_find_the_one_cause(code: str, words: str, key: str) -> None:
    assert faults.find(code, words).key == key


def test_an_unknown_code_passes_through_with_the_bureaus_own_words_and_permits_nothing() -> None:
    found = faults.find("27FE", "  某种\n新的错误  ")
    assert found.code == "27FE"
    assert found.title == Text("某种 新的错误", "某种 新的错误")
    assert found.resend is Resend.NEVER
    assert found.actor is Actor.BUREAU
    assert found.steps


@given(st.text(max_size=80), st.text(max_size=2000))
def test_whatever_a_bureau_answers_has_an_explanation_of_bounded_length(code: str, words: str) -> None:
    found = faults.find(code, words)
    assert found.steps
    assert len(found.title.zh) <= 560
    assert faults.describe(found)


@given(st.text(max_size=60))
def test_whatever_a_person_types_never_fails(query: str) -> None:
    assert isinstance(faults.search(query), list)


@pytest.mark.parametrize("code", faults.ERRORS)
def test_every_error_code_has_an_explanation(code: str) -> None:
    found = faults.search(code)
    assert found[0].key == code
    assert "{" not in " ".join((*found[0].title, *(half for step in found[0].steps for half in step)))


def test_every_code_that_a_fault_names_exists() -> None:
    named = {alias for fault in ALL for alias in fault.aliases if re.fullmatch(r"B\d{4}", alias)}
    assert named <= set(faults.ERRORS)


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("锁死", "locked"),
        ("locked", "locked"),
        ("季报", "wrong-declaration-cycle"),
        ("quarterly", "wrong-declaration-cycle"),
        ("补录", "2715-wrong-files"),
        ("防火墙", "network-lan"),
        ("分机 未报税", "272C"),
        ("零申报", "zero-month"),
        ("作废", "copied-cannot-void"),
        ("J", "key-cannot-be-loaded"),
        ("33", "B3301"),
        ("09d118", "already-cleared"),
        ("271d-mismatch", "271D-mismatch"),
    ],
)
def test_plain_words_letters_and_exit_statuses_are_understood(query: str, key: str) -> None:
    assert key in [f.key for f in faults.search(query)][:3]


def test_a_letter_without_a_fault_finds_nothing_wrong() -> None:
    assert "K" not in {fault.letter for fault in ALL}


def test_every_exit_status_has_words() -> None:
    assert set(faults.EXITS) == set(ExitCode)


def test_no_code_of_an_error_was_given_twice() -> None:
    from shared import errors

    codes = [
        c.code
        for c in vars(errors).values()
        if isinstance(c, type) and issubclass(c, errors.TaxferryError) and "code" in vars(c) and "message" in vars(c)
    ]
    assert len(codes) == len(set(codes))

"""The error tree: permanent codes, exit codes, two languages."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

import pytest

from shared import errors
from shared.errors import ExitCode, OtherReport, ResultInvalid, TaxferryError
from shared.text import Text, set_language


def tree(root: type[TaxferryError] = TaxferryError) -> Iterator[type[TaxferryError]]:
    """Yield the classes of `shared.errors` that can be raised: those with a message."""
    for each in root.__subclasses__():
        if each.__module__ == errors.__name__ and hasattr(each, "message"):
            yield each
        yield from tree(each)


ALL = sorted(set(tree()), key=lambda each: (each.code, each.__name__))
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def placeholders(text: str) -> set[str]:
    """Return the names of the placeholders in a message."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def filled(error: type[TaxferryError]) -> TaxferryError:
    """Return an occurrence of an error, with something for each placeholder."""
    names = placeholders(error.message.zh) | placeholders(error.hint.zh)
    return error(**{name: Text(f"某{name}", f"some {name}") for name in names})


def test_the_tree_was_found() -> None:
    assert len(ALL) >= 35


def test_codes_are_given_once() -> None:
    codes = [error.code for error in ALL]
    assert sorted({code for code in codes if codes.count(code) > 1}) == []


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_a_code_begins_with_its_exit_code(error: type[TaxferryError]) -> None:
    assert re.fullmatch(r"B[0-9]{4}", error.code)
    # 130 does not fit into two digits: the one exception.
    expected = ExitCode.INTERRUPTED if error is errors.Interrupted else int(error.code[1:3])
    assert filled(error).exit_code == expected
    assert filled(error).exit_code in ExitCode


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_both_languages_say_the_same_facts(error: type[TaxferryError]) -> None:
    for text in (error.message, error.hint, error.safe):
        assert placeholders(text.zh) == placeholders(text.en)
        assert text.zh
        assert text.en
        assert not CHINESE.search(text.en)
    assert CHINESE.search(error.message.zh) or error.message.zh == "{reason}"


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_every_error_says_what_happened_what_became_of_the_data_and_what_to_do(error: type[TaxferryError]) -> None:
    found = filled(error)
    shown = found.as_json()
    for key in ("code", "exit_code", "message", "safe", "hint", "context"):
        assert shown[key] not in ("", None), key
    assert "{" not in str(found)
    assert "{" not in str(found.advice)


def test_exit_codes_are_those_of_the_interface() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "WARNINGS": 1,
        "USAGE": 2,
        "NAME": 10,
        "REPORT": 11,
        "RESULT": 12,
        "IMPORT": 13,
        "ACK": 14,
        "TRUST_FILE": 15,
        "SIGNATURE": 20,
        "CERTIFICATE": 21,
        "OTHER_REPORT": 22,
        "OUTDATED": 23,
        "TRUST": 24,
        "MEDIUM_ABSENT": 30,
        "MEDIUM_AMBIGUOUS": 31,
        "MEDIUM_UNPREPARED": 32,
        "MEDIUM_FULL": 33,
        "MEDIUM_READ_ONLY": 34,
        "MEDIUM_DAMAGED": 35,
        "BUREAU_UNREACHABLE": 40,
        "OUTCOME_UNKNOWN": 41,
        "BUREAU_REFUSED": 42,
        "STILL_PROCESSING": 43,
        "BUREAU_BUSY": 44,
        "CONFIGURATION": 50,
        "NOT_ALLOWED": 51,
        "WRONG_STATE": 52,
        "LOCKED": 53,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("NameInvalid", "B1001"),
        ("NotCanonical", "B1101"),
        ("ReportInvalid", "B1102"),
        ("ResultInvalid", "B1201"),
        ("ResultEmpty", "B1202"),
        ("ImportInvalid", "B1301"),
        ("AckInvalid", "B1401"),
        ("TrustFileInvalid", "B1501"),
        ("SignatureRefused", "B2001"),
        ("CertificateRefused", "B2101"),
        ("OtherReport", "B2201"),
        ("NameContradicts", "B2208"),
        ("Outdated", "B2301"),
        ("TrustRefused", "B2401"),
        ("StillProcessing", "B4301"),
        ("KeyUnavailable", "B5002"),
        ("WrongState", "B5201"),
        ("Locked", "B5301"),
    ],
)
def test_codes_are_permanent(name: str, code: str) -> None:
    assert getattr(errors, name).code == code


def test_an_error_speaks_the_language_of_the_moment() -> None:
    error = ResultInvalid(reason=Text("少了一行", "a line is missing"))
    assert "少了一行" in str(error)
    set_language("en")
    assert "a line is missing" in str(error)
    assert "a line is missing" in error.as_json()["message"]  # type: ignore[operator]


def test_braces_in_a_fact_are_no_placeholders() -> None:
    assert "{name}" in str(ResultInvalid(reason=Text("{name}", "{name}")))


def test_facts_are_kept_for_programs() -> None:
    error = OtherReport(field="抄税时间", theirs="甲", ours="乙")
    assert error.as_json()["context"] == {"field": "抄税时间", "theirs": "甲", "ours": "乙"}
    assert error.exit_code is ExitCode.OTHER_REPORT


def test_the_fields_own_numbers_stand_beside_ours() -> None:
    assert errors.SignatureRefused.field_code == errors.CertificateRefused.field_code == "0x8204000D"
    assert errors.ReportInvalid.field_code == errors.ReportNotForUs.field_code == "0x82040010"
    assert errors.ReportContentInvalid.field_code == ""

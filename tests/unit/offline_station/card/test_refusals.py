"""What a device says with a number reaches the operator in words, with the catalogue's remedy."""

from __future__ import annotations

import pytest

from offline_station.card.refusals import DeviceRefused
from shared.errors import ExitCode
from shared.faults import CATALOGUE, find_all


@pytest.mark.parametrize("code", ["JSK222", "JSK250", "09d11f", "JSK085", "JSK160", "JSK241"])
def test_a_known_number_says_what_is_the_case_and_what_to_do_first(code: str) -> None:
    refused = DeviceRefused(code)
    [fault, *_] = find_all(code)
    assert code in refused.text.zh
    assert fault.title.zh in refused.text.zh
    assert fault.steps[0].zh in refused.advice.zh
    assert f"explain {code}" in refused.advice.en
    assert refused.exit_code is ExitCode.WRONG_STATE
    assert refused.as_json()["field_code"] == code


def test_an_unknown_number_passes_through_with_the_device_s_own_words() -> None:
    refused = DeviceRefused("JSK999", "卡内部错误")
    assert "JSK999" in refused.text.zh
    assert "卡内部错误" in refused.text.zh
    assert CATALOGUE["report-failed"].steps[0].zh in refused.advice.zh

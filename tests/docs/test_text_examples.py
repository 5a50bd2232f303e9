"""Every example of a signed text in the specification is read, and written again as it stands (RES-3, ACK-2, RES-30)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.canonical import parse_json
from shared.errors import NotCanonical
from shared.ids import parse_report_name, recognise_name, uscc_check_character
from shared.model.ack import parse_ack, render_ack
from shared.model.receipt import parse_receipt, render_receipt
from shared.model.result import parse_result, render_result

SPEC = Path(__file__).parents[2] / "docs" / "spec"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return [m[2] for m in BLOCK.finditer((SPEC / page).read_text(encoding="utf-8")) if m[1] == language]


def body(block: str) -> bytes:
    """Return a block as the signed octets would be."""
    return block.replace("\n", "\r\n").encode()


def results() -> list[bytes]:
    return [body(block) for block in blocks("result.md", "text") if block.startswith("税渡 报税结果")]


def test_the_results_are_read_and_written_as_they_stand() -> None:
    found = [parse_result(each) for each in results()]
    assert [each.outcome for each in found] == ["success", "failure"]
    assert [render_result(each) for each in found] == results()


@pytest.mark.parametrize(
    ("page", "title", "read", "write"),
    [
        ("ack.md", "税渡 清卡回执", parse_ack, render_ack),
        ("canonical.md", "税渡 受理回执", parse_receipt, render_receipt),
    ],
)
def test_the_receipts_are_read_and_written_as_they_stand(
    page: str, title: str, read: Callable[[bytes], object], write: Callable[[object], bytes]
) -> None:
    found = [body(block) for block in blocks(page, "text") if block.startswith(title)]
    assert len(found) == 1
    assert write(read(found[0])) == found[0]


def test_the_clear_receipt_is_for_the_success_of_the_other_page() -> None:
    ack = parse_ack(body(blocks("ack.md", "text")[0]))
    assert ack.result_sha256 == hashlib.sha256(results()[0]).hexdigest()


def test_one_of_the_two_json_examples_is_canonical() -> None:
    wrong, right = (block.strip().encode() for block in blocks("canonical.md", "json"))
    assert parse_json(right)["n"] == 3
    with pytest.raises(NotCanonical):
        parse_json(wrong)


def test_the_names_of_the_worked_example_mean_what_it_says() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (SPEC / "names.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 6
    for name, meaning in rows:
        found = recognise_name(name)
        if meaning.startswith("refused"):
            assert found is None, name
            continue
        assert found is not None, name
        true_name = found[0].file_name(found[1])
        assert parse_report_name(true_name) == found
        assert name == true_name or true_name in meaning


def test_the_check_characters_of_the_worked_example() -> None:
    assert uscc_check_character("91110108551385082") == "Q"
    assert uscc_check_character("91310000000000011") == "0"


def test_the_shape_of_a_trust_file_has_the_labels_of_its_vector() -> None:
    shape = [line.partition(":")[0] for line in blocks("trust.md", "text")[0].splitlines()]
    vector = (Path(__file__).parents[1] / "vectors" / "text" / "trust.txt").read_text(encoding="utf-8")
    labels = [line.partition(":")[0] for line in vector.partition("-----BEGIN")[0].splitlines()]
    assert [label for label in labels if label in shape] == shape
    assert {label.rstrip("0123456789") for label in labels} <= {label.rstrip("0123456789") for label in shape}

"""The operator's handbook names what there is: pages, pictures, errors, buttons, commands and their options."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest

from offline_station.cli import program as offline_program
from offline_station.web.wording import BUTTONS
from online_station.cli import program as online_program

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "docs" / "handbook"
PAGES = sorted(BOOK.glob("*.md"))
PROGRAMS = {"offline-station": offline_program, "online-station": online_program}
LINK = re.compile(r"\]\(([^)#]+)(?:#([^)]+))?\)")
BUTTON = re.compile(r"点“([^”]+)”")
COMMAND = re.compile(r"(?:offline|online)-station(?: [^\n`|，。；）]+)?")


def page_words() -> str:
    """Return all that the invoicing PC's pages can say."""
    found = [p for p in (ROOT / "offline_station" / "web").rglob("*") if p.suffix in (".py", ".html")]
    found += [p for p in (ROOT / "shared" / "web").rglob("*") if p.suffix in (".py", ".html")]
    return "\n".join(p.read_text(encoding="utf-8") for p in found) + "".join(text.zh for text in BUTTONS.values())


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    broken = []
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path = page.parent / target
        if not path.is_file():
            broken.append(target)
        elif anchor and f"\n## {anchor.upper()}\n" not in path.read_text(encoding="utf-8"):
            broken.append(f"{target}#{anchor}")
    return broken


def wrong_in(command: str) -> str:
    """Return what is wrong with a command as it is printed: a verb or an option that there is not."""
    name, *words = command.split()
    found: Any = PROGRAMS[name]._group
    while words and isinstance(found, click.Group):
        if words[0].startswith("--"):
            del words[:2]
            continue
        verb = words.pop(0)
        if verb not in found.commands:
            return f"{command}: no verb {verb}"
        found = found.commands[verb]
    known = {option for parameter in found.params for option in parameter.opts}
    unknown = [word for word in words if word.startswith("--") and word not in known]
    return f"{command}: no {unknown}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_what_a_page_of_the_handbook_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert broken_links(page) == []
    words = page_words()
    assert [name for name in BUTTON.findall(text) if name not in words] == [], "no such button"
    commands = [c for c in COMMAND.findall(text) if " " in c]
    assert [wrong for wrong in map(wrong_in, commands) if wrong] == []
    assert commands, "each page says how it is done by a command, too"


def test_each_task_has_a_picture_and_a_way_to_the_errors_and_is_in_the_contents() -> None:
    contents = (BOOK / "index.md").read_text(encoding="utf-8").splitlines()
    for page in PAGES:
        if page.stem == "index":
            continue
        text = page.read_text(encoding="utf-8")
        assert "](../pictures/" in text, page.stem
        assert page.stem in contents, "it is not in the contents"
        assert re.search(r"reference/(errors|faults)\.md|refused\.md", text), page.stem
    assert "card.html" in "\n".join(contents)


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "x.md"
    page.write_text("[a](nowhere.md) ![p](../pictures/none.png)", encoding="utf-8")
    assert broken_links(page) == ["nowhere.md", "../pictures/none.png"]
    assert wrong_in("offline-station stick melt") == "offline-station stick melt: no verb melt"
    assert wrong_in("online-station init --magic") == "online-station init --magic: no ['--magic']"
    assert wrong_in("online-station --home X init --key K") == ""


class _Bold(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag == "b"

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found.append(data)


def test_the_card_beside_the_machine_names_the_buttons_in_both_languages() -> None:
    card = (BOOK / "card.html").read_text(encoding="utf-8")
    reader = _Bold()
    reader.feed(card)
    buttons = {name for text in BUTTONS.values() for name in (text.zh, text.en)}
    zh = ["抄税", "远程报税", "报税结果", "清卡", "与U盘同步"]
    en = ["Copy", "Report", "Result", "Clear", "Sync the stick"]
    named = [name for name in reader.found if name in buttons and name not in ("帮助", "Help")]
    assert named == [*zh, *en], "in the order of the work"

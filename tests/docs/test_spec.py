"""The specification's requirements are cited by what keeps them, and nothing cites a requirement that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "docs" / "spec"
CODE = ("shared", "offline_station", "online_station", "tax_bureau")

DECLARATION = re.compile(r"\*\*([A-Z]{2,8}-\d{1,3})\*\*")
# REP-3, a span such as REP-20…24 or REP-20 to REP-24, and a list such as CARD-2, -3.
# What else is written like a requirement: algorithms, device codes, names in sample data.
FOREIGN = {"AES", "CRC", "JSK", "LP", "PDF", "RFC", "RSA", "SHA", "UTF", "YS"}
CITATION = re.compile(r"\b([A-Z]{2,8})-(\d{1,3})(?:(?:…| to |–)(?:\1-)?(\d{1,3}))?\b(?!-)")


@dataclass(frozen=True)
class Requirement:
    """One numbered sentence of the specification."""

    id: str
    page: str
    text: str

    @property
    def binding(self) -> bool:
        return re.search(r"\bMUST\b|\bSHALL\b|必须", self.text) is not None


def requirements() -> list[Requirement]:
    """Return every requirement with the text up to the next one, the next heading or the end of its page."""
    found = []
    for page in sorted(SPEC.glob("*.md")):
        if page.name == "index.md":
            continue
        text = page.read_text(encoding="utf-8")
        starts = list(DECLARATION.finditer(text))
        for this, following in zip(starts, [*starts[1:], None], strict=True):
            body = text[this.end() : following.start() if following else len(text)]
            found.append(Requirement(this[1], page.name, re.split(r"\n#", body)[0]))
    return found


def cited(text: str, prefixes: set[str] | None) -> Iterator[str]:
    """Yield every requirement number in a text, spans spelled out; of all prefixes, if None are given."""
    for match in CITATION.finditer(text):
        if prefixes is None or match[1] in prefixes:
            first, last = int(match[2]), int(match[3] or match[2])
            yield from (f"{match[1]}-{number}" for number in range(first, last + 1))


def citations(folders: tuple[str, ...], prefixes: set[str] | None) -> dict[str, list[str]]:
    """Return the places that cite each requirement."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path == Path(__file__):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                for id_ in cited(line, prefixes):
                    found.setdefault(id_, []).append(f"{path.relative_to(ROOT)}:{number}")
    return found


def test_a_requirement_is_stated_once() -> None:
    ids = [requirement.id for requirement in requirements()]
    assert sorted({id_ for id_ in ids if ids.count(id_) > 1}) == []


def test_every_binding_requirement_is_cited_by_a_test() -> None:
    known = requirements()
    found = citations(("tests",), {requirement.id.partition("-")[0] for requirement in known})
    missing = [f"{r.id} ({r.page}): {r.text.strip()[:90]}" for r in known if r.binding and r.id not in found]
    assert missing == [], "cite these where they are proven:\n" + "\n".join(missing)


def test_every_requirement_is_cited_somewhere() -> None:
    known = requirements()
    found = citations((*CODE, "tests"), {requirement.id.partition("-")[0] for requirement in known})
    assert [r.id for r in known if r.id not in found] == []


def test_every_cited_requirement_exists() -> None:
    ids = {requirement.id for requirement in requirements()}
    found = citations((*CODE, "tests"), None)
    unknown = [
        f"{id_}: {places[0]}"
        for id_, places in sorted(found.items())
        if id_ not in ids and id_.partition("-")[0] not in FOREIGN
    ]
    assert unknown == [], "these are cited and nowhere stated:\n" + "\n".join(unknown)


def test_the_pages_cite_only_requirements_that_exist() -> None:
    ids = {requirement.id for requirement in requirements()}
    prefixes = {id_.partition("-")[0] for id_ in ids}
    unknown = [
        f"{id_}: {page.name}"
        for page in sorted(SPEC.glob("*.md"))
        for id_ in cited(page.read_text(encoding="utf-8"), prefixes)
        if id_ not in ids
    ]
    assert [one for one in unknown if not one.endswith("index.md")] == []

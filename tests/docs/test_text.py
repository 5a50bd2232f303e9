"""What people read: links lead somewhere, commands exist, and the project speaks of itself only."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import PROGRAMS, verbs
from shared.cli import Program

ROOT = Path(__file__).parents[2]
FOLDERS = ("shared", "offline_station", "online_station", "tax_bureau", "tests", "benchmarks", "docs", ".ci")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = [ROOT / "README.md", ROOT / "README.en.md"]


def written_files() -> Iterator[Path]:
    """Yield every text that somebody wrote: sources, pages, scripts."""
    # In a linked working tree, `.git` is a file of Git's own.
    top = (p for p in ROOT.iterdir() if p.is_file() and p.name != ".git" and not p.name.startswith(".coverage"))
    yield from (path for path in top if path.suffix in {".md", ".toml", ".yaml", ""})
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and path.parent.parent != ROOT / "tests" / "vectors" / "cases"  # some are no text on purpose
                and path.suffix in {".py", ".md", ".json", ".txt", ""}
            ):
                yield path


# Split, so that this file does not find itself.
FORBIDDEN = re.compile(
    "|".join(
        [
            "/wo" + "rk/",
            "/tm" + "p/[a-z]+_lab",
            r"\.lib" + "rary",
            "sub" + "agent",
            "this ses" + "sion",
            "developer ses" + "sion",
            "as an " + "AI",
            "AI assis" + "tant",
            r"\bTO" + r"DO\b",
            r"\bFIX" + r"ME\b",
            "NotImplemented" + r"Error",
        ]
    )
)


def test_the_project_speaks_of_itself_only() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in written_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as repositories and the manual make them."""
    found = set()
    for line in without_code(page.read_text(encoding="utf-8")).splitlines():
        if match := re.match(r"#{1,6} (.*)", line):
            text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).strip().lower()
            kept = (c for c in text if c in " -_" or unicodedata.category(c)[0] in "LN")
            found.add("".join(kept).replace(" ", "-"))
    return found


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        goal = (page.parent / name).resolve() if name else page
        if not goal.exists() or (anchor and goal.suffix == ".md" and anchor not in anchors(goal)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("readme", READMES, ids=lambda page: page.name)
def test_the_readme_names_the_two_commands_and_make_knows_them(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"$ make {target}" in text
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_ci_script_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^step make test$", script, re.MULTILINE)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def programs() -> dict[str, Program]:
    found = [importlib.import_module(f"{name}.cli").program for name in PROGRAMS]
    return {program.name: program for program in found}


def written_commands(page: Path) -> Iterator[str]:
    """Yield the programs' command lines in a page: in console blocks and between backquotes."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    names = "|".join(name.replace("_", "-") for name in PROGRAMS)
    for pattern in (rf"^ *\$ (?:\S*/)?((?:{names}) [^#\n]*)", rf"`(?:\S*/)?((?:{names}) [^`\n]*)`"):
        yield from (match[1].strip() for match in re.finditer(pattern, text, re.MULTILINE))


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "CHANGELOG.md" and any(written_commands(page))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_written_commands_exist_with_their_options(page: Path) -> None:
    """A verb or an option in a page that its program does not know is a promise that breaks in somebody's hands."""
    known = {
        (name, path): {option for parameter in command.params for option in parameter.opts}
        for name, program in programs().items()
        for path, command in verbs(program)
    }
    wrong = []
    for line in written_commands(page):
        name, *words = shlex.split(line.replace("'", ""))
        if words[:1] == ["--home"]:
            del words[:2]
        for length in (2, 1):
            options = known.get((name, " ".join(words[:length])))
            if options is not None:
                break
        else:
            wrong.append(line)
            continue
        given = {word.strip("[]").partition("=")[0] for word in words[length:] if word.strip("[]").startswith("--")}
        wrong += [f"{line}: {option}" for option in given - options]
    assert wrong == []

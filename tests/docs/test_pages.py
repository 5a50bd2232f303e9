"""The manual's pages that come from the code say what the code says."""

from __future__ import annotations

from docs.generate import pages


def test_the_generated_pages_are_up_to_date() -> None:
    stale = [
        path.name for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `make pages` and commit"

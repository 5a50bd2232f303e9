"""Make every `.mo` from the `.po` beside it: `python -m shared.text.locale`.

The compiled file is committed, because an installed package has no build step; a test fails when one is out of date.
"""

from __future__ import annotations

import ast
import struct
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
_MAGIC: Final = 0x950412DE


def read_po(text: str) -> dict[str, str]:
    """Return the messages of a catalogue: `singular NUL plural` maps to the one form that Chinese has."""
    messages: dict[str, str] = {}
    fields: dict[str, str] = {}
    field = ""

    def finish() -> None:
        if "msgid" in fields:
            plural = fields.get("msgid_plural")
            key = fields["msgid"] if plural is None else f"{fields['msgid']}\0{plural}"
            messages[key] = fields.get("msgstr", fields.get("msgstr[0]", ""))
        fields.clear()

    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            finish()
        elif line.startswith('"'):
            fields[field] += ast.literal_eval(line)
        else:
            field, _, value = line.partition(" ")
            fields[field] = ast.literal_eval(value)
    finish()
    return messages


def write_mo(messages: dict[str, str]) -> bytes:
    """Return the binary catalogue that gettext reads."""
    rows = sorted((key.encode(), value.encode()) for key, value in messages.items())
    start = 28 + 16 * len(rows)
    table, data = [], b""
    for column in (0, 1):
        for row in rows:
            table.append(struct.pack("<II", len(row[column]), start + len(data)))
            data += row[column] + b"\0"
    header = struct.pack("<7I", _MAGIC, 0, len(rows), 28, 28 + 8 * len(rows), 0, 28 + 16 * len(rows))
    return header + b"".join(table) + data


def catalogues() -> dict[Path, bytes]:
    """Return every `.mo` by its path, as it should be."""
    return {p.with_suffix(".mo"): write_mo(read_po(p.read_text("utf-8"))) for p in sorted(HERE.rglob("*.po"))}


if __name__ == "__main__":
    for path, content in catalogues().items():
        path.write_bytes(content)

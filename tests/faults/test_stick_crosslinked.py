"""A stick whose file system was damaged earlier: two of its names share the same clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.medium import LOCAL
from tests.support.cargo import Cargo


class CrossLinked:
    """What is added to the transfer log lands in a report, too: as seen on an NTFS that had crashed."""

    def __init__(self, victim: Path) -> None:
        self._victim = victim

    def __getattr__(self, name: str) -> Any:
        return getattr(LOCAL, name)

    def append(self, folder: Any, name: str, data: bytes) -> Any:
        log = LOCAL.append(folder, name, data)
        for victim in self._victim.parent.glob("*.[dp]a*"):
            with victim.open("ab") as file:
                file.write(data)
        return log


NAMES = ["310100000000000_0_202608010000.dat", "310100000000000_1_202608010000.dat"]


@pytest.mark.parametrize("mode", ["single", "batch"])
@pytest.mark.parametrize("names", [NAMES[:1], NAMES], ids=["one", "two"])
def test_a_report_that_shares_clusters_with_the_transfer_log_is_not_called_safe(
    tmp_path: Path, names: list[str], mode: str
) -> None:
    """STICK-12: the visit's last question is also about what it placed."""
    cargo = Cargo.make(tmp_path / "cargo", dict.fromkeys(names, 5_000), mode)
    stick = tmp_path / "stick"
    stick.mkdir()
    cargo.prepare(stick)
    said = cargo.visit(stick, CrossLinked(cargo.final(stick, next(iter(cargo.files)))))
    assert cargo.end(stick, said) != "false-safe"

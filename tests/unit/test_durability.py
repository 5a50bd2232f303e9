"""Every database asks the disk for as much as its promises need: no kill shows the difference, a power cut does."""

from __future__ import annotations

from pathlib import Path

import pytest

from offline_station.ledger.store import Ledger
from offline_station.shell.store import StationStore
from online_station.core.decide import DEFAULT_POLICY
from online_station.shell.store import Store as OnlineStore
from tax_bureau.store import Store as BureauStore
from tests.support.offline import software_card

FULL, EXTRA = 2, 3


def test_the_card_syncs_its_folder_too(tmp_path: Path) -> None:  # CARD-2
    card = software_card(tmp_path)
    try:
        assert card._db.execute("PRAGMA synchronous").fetchone() == (EXTRA,)
        # One file is the card: nothing beside it may be needed to read it.
        assert card._db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    finally:
        card.close()


def test_the_invoicing_pc_syncs_each_transaction(tmp_path: Path) -> None:
    store = StationStore(tmp_path / "station.db")
    try:
        assert store._db.execute("PRAGMA synchronous").fetchone() == (FULL,)
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        store.close()
    with Ledger(tmp_path / "ledger.db")._connected() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (FULL,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def _engine(store):
    return store._engine if isinstance(store, BureauStore) else store.database.engine


@pytest.mark.parametrize(
    "make", [lambda path: OnlineStore(path, DEFAULT_POLICY), BureauStore], ids=["online", "bureau"]
)
def test_the_others_sync_each_transaction_on_every_connection(tmp_path: Path, make) -> None:
    store = make(tmp_path / "store.db")
    try:
        with _engine(store).connect() as first, _engine(store).connect() as second:
            for connection in (first, second):
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == FULL
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    finally:
        store.close()

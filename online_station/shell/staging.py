"""Put proven results into the outbox, under the one name that the invoicing PC expects."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from online_station.shell.quarantine import set_aside
from online_station.shell.store import Store
from shared.durable import write_durably
from shared.envelope.chain import TrustStore
from shared.errors import TaxferryError
from shared.model.result import ProvenResult, prove_result


def stage(data: bytes, outbox: Path, trust: TrustStore, store: Store, quarantine: Path, now: datetime) -> Path | None:
    """Write a result into the outbox durably.

    Args:
        data: The result as the bureau signed it.
        outbox: The folder; made if it is missing.
        trust: What a result that lies there already is proven against.
        store: Notes what had to be set aside.
        quarantine: Where a file goes that has the result's name and is no result.
        now: The present.

    Returns:
        The file, or None if a newer result of the same name lies there and was left alone.

    Raises:
        OSError: What lay there still lies there.
        TaxferryError: `data` is no result; that is a defect of the caller.
    """
    ours = prove_result(data, trust, at=now)
    outbox.mkdir(parents=True, exist_ok=True)
    path = outbox / ours.result.name.file_name(".txt")
    if path.is_symlink() or path.exists():
        try:
            present = path.read_bytes()
            if present == data:
                return path
            if _is_newer(prove_result(present, trust, at=now), ours):
                return None
        except TaxferryError as error:
            set_aside(quarantine, path, error, store, now)
    write_durably(path, data, mode=0o644)
    return path


def _is_newer(present: ProvenResult, ours: ProvenResult) -> bool:
    """Numbers count per card; a re-issued card begins anew, and there the bureau's time decides."""
    if present.result.card_no == ours.result.card_no:
        return present.result.result_no >= ours.result.result_no
    return present.result.bureau_time > ours.result.bureau_time

"""Wrote the files of this folder. They are fixed: run again, it would make others, with other keys.

python -m tests.vectors.text.generate
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from shared.envelope.textsign import sign_text
from shared.model.receipt import render_receipt
from shared.model.result import render_result
from tests.support.pki import pki
from tests.support.texts import (
    NextRoot,
    ack_of,
    failure,
    receipt,
    signed,
    signed_ack,
    signed_trust,
    success,
    trust_file,
)

HERE = Path(__file__).parent


def main() -> None:
    """Write one signed text of each kind, all under one root."""
    bureau = pki()
    new = NextRoot(bureau)
    trust = trust_file(
        version=2, roots=(bureau.root, new.root), handovers=(new.handover,), crls=(*bureau.crls(number=2), new.crl)
    )
    result = success()
    files = {
        "root.pem": bureau.root.public_bytes(Encoding.PEM),
        "result.txt": signed(result),
        "failure.txt": signed(failure()),
        "receipt.txt": sign_text(render_receipt(receipt()), bureau.bureau_result, signing_time=receipt().received_at),
        "clear.ack": signed_ack(ack_of(result)),
        "trust.txt": signed_trust(trust),
    }
    for name, data in files.items():
        (HERE / name).write_bytes(data)
    print(hashlib.sha256(render_result(result)).hexdigest())


if __name__ == "__main__":
    main()

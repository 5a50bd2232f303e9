"""Containers for all inputs: reading undoes writing, and nothing that was altered passes for what was packed."""

from __future__ import annotations

import os
import random
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import CHINA
from shared.ids import MachineNo, ReportName, TaxpayerId, adhoc_stamp
from shared.medium import Direction
from tests.support.containers import FILES, pack, unpack

LONG = os.environ.get("TAXFERRY_PROFILE") == "long"

taxpayers = st.sampled_from([15, 17, 18, 20]).flatmap(lambda n: st.text("0123456789ABCXYZ", min_size=n, max_size=n))
moments = st.datetimes(datetime(1994, 1, 1), datetime(2099, 12, 31)).map(lambda m: m.replace(tzinfo=CHINA))  # noqa: DTZ001
reports = st.builds(
    lambda taxpayer, machine, moment: ReportName(TaxpayerId(taxpayer), MachineNo(machine), adhoc_stamp(moment)),
    taxpayers,
    st.integers(0, 65535),
    moments,
)
contents = st.one_of(st.binary(min_size=1, max_size=1100), st.sampled_from([1, 511, 512, 513, 1024]).map(bytes))
online = st.dictionaries(
    st.builds(lambda report, suffix: report.file_name(suffix), reports, st.sampled_from([".dat", ".ack"])),
    contents,
    min_size=1,
    max_size=6,
)
offline = st.dictionaries(
    st.one_of(st.just("trust.txt"), reports.map(lambda report: report.file_name(".txt"))),
    contents,
    min_size=1,
    max_size=6,
)


@given(
    st.one_of(online.map(lambda f: (f, Direction.TO_ONLINE)), offline.map(lambda f: (f, Direction.TO_OFFLINE))),
    st.randoms(use_true_random=False),
)
def test_reading_undoes_writing_whatever_the_order(
    packed: tuple[dict[str, bytes], Direction], luck: random.Random
) -> None:
    """STICK-15, STICK-17."""
    files, direction = packed
    planned, data = pack(files, direction)
    shuffled = list(files.items())
    luck.shuffle(shuffled)
    assert pack(dict(shuffled), direction) == (planned, data)
    assert unpack(data) == (files, planned, None)


def mishap(data: bytes, luck: random.Random) -> bytes:
    """Return what bad media and bad people make of a container."""
    altered = bytearray(data)
    for _ in range(luck.randint(1, 3)):
        at = luck.randrange(len(altered)) if altered else 0
        block = at // 512 * 512
        match luck.randrange(8):
            case 0:
                altered[at : at + 1] = bytes([luck.randrange(256)])
            case 1:
                del altered[at:]
            case 2:
                del altered[block : block + 512]
            case 3:
                altered[block:block] = altered[block : block + 512]
            case 4:
                altered[block : block + 512] = bytes(512)
            case 5:
                other = luck.randrange(len(data) // 512) * 512
                altered[block : block + 512] = data[other : other + 512]
            case 6:
                altered += luck.randbytes(luck.randint(1, 1024))
            case _:
                altered[at:at] = luck.randbytes(luck.randint(1, 20))
    return bytes(altered)


def test_whatever_happened_to_a_container_it_is_refused_or_it_is_the_same() -> None:
    """STICK-20: no other error leaves the reader, and only the same bytes are complete."""
    planned, data = pack(FILES)
    luck = random.Random(None if LONG else 20080718)
    refused = 0
    for _ in range(50_000 if LONG else 3_000):
        altered = mishap(data, luck)
        found, complete, error = unpack(altered)
        if altered == data:
            assert (found, complete) == (FILES, planned)
        else:
            refused += 1
            assert complete is None, altered.hex()
            assert error is not None
    assert refused > 2_000

"""Kill the invoicing PC at any point of a verb and start it again (CARD-2).

The killing itself is in `tests.support.card_killer`, a process that may fork. Here it is asked for every verb; the long
profile kills at every single point, the quick one at some.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: processes are forked and killed by signal")
ROOT = Path(__file__).parents[2]
STEP = 1 if os.environ.get("TAXFERRY_PROFILE") == "long" else 19


@pytest.mark.timeout(600)
@pytest.mark.parametrize("verb", ["import", "copy", "copy-again", "report", "result", "clear"])
def test_killed_anywhere_it_is_the_old_state_or_the_new_and_goes_on(verb: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.card_killer", verb, str(STEP), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=590,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= 3, "the verb has more points than that: nothing was killed"
    assert found["wrong"] == []

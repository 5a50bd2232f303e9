"""The same module, started by root and run as a user who owns nothing."""

from __future__ import annotations

import os

from shared.medium.confine import serve
from tests.support.confined import work

NOBODY = 65534

if __name__ == "__main__":
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    serve(work)

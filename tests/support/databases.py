"""Databases for tests: SQLite files, and a PostgreSQL server of our own that listens on a socket file only."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from shared.jobs.database import Database, open_database

LONGEST = 60
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    # Only for speed: a server that is stopped `immediate` replays its log from the system's memory.
    "fsync": "off",
    "autovacuum": "off",
    "max_wal_size": "256MB",
    "lc_messages": "C",
    "logging_collector": "off",
}


def until(condition: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
    """Wait for a condition; fail if it does not come true in time."""
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, f"waited {seconds} s for {what or condition}"
        time.sleep(0.01)


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs, the newest version's, or skip the test for want of them."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda p: int(p.split("/")[4]))
    path = found[-1] if found else shutil.which("postgres")
    if path is None:
        pytest.skip("postgres is not installed")
    return Path(path).resolve().parent


class Cluster:
    """A running PostgreSQL server."""

    def __init__(self, folder: Path, programs: Path, owner: tuple[int, int] | None) -> None:
        self.folder = folder
        self._programs = programs
        self._owner = owner
        self._numbers = itertools.count(1)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as a user that is not root, which it refuses."""
        identity = {} if self._owner is None else {"user": self._owner[0], "group": self._owner[1], "extra_groups": []}
        with (self.folder / "output").open("ab") as output:
            done = subprocess.run(
                [self._programs / program, *arguments],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LONGEST,
                check=False,
                **identity,
            )
        assert done.returncode == 0, (self.folder / "output").read_text(errors="replace")[-2000:]

    def control(self, verb: str, *options: str) -> None:
        """Run `pg_ctl` and wait until it is done."""
        self.run("pg_ctl", verb, "-w", "-s", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), *options)

    def start(self) -> None:
        """Start the server."""
        settings = " ".join(f"-c {name}='{value}'" for name, value in _SETTINGS.items())
        self.control("start", "-o", f"{settings} -k {self.folder}")

    def crash(self) -> None:
        """Let the server die as in a crash and come back."""
        self.control("restart", "-m", "immediate")

    def stop(self) -> None:
        """Stop the server."""
        self.control("stop", "-m", "immediate")

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{next(self._numbers)}"
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
        return f"postgresql://postgres@/{name}?host={self.folder}"


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make a server and end it."""
    programs = _programs()
    # Not pytest's own folder: no other user may enter it, and the path of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="taxferry-pg-"))
    try:
        owner = None
        if os.geteuid() == 0:
            import pwd

            entry = pwd.getpwnam("postgres")
            owner = (entry.pw_uid, entry.pw_gid)
            os.chown(folder, *owner)
        cluster = Cluster(folder, programs, owner)
        cluster.run(
            "initdb", "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C", "-D", str(folder / "data")
        )
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One server per test process."""
    with running_cluster() as made:
        yield made


@pytest.fixture
def postgresql(cluster: Cluster) -> str:
    """The URL of an empty database on the server."""
    return cluster.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database is, of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "jobs.db")
    url: str = request.getfixturevalue("postgresql")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database of either kind, open."""
    with contextlib.closing(open_database(database_url)) as made:
        yield made

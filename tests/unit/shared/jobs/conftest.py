from __future__ import annotations

from tests.support.databases import cluster, database, database_url, postgresql

__all__ = ["cluster", "database", "database_url", "postgresql"]

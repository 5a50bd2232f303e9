"""One of several nodes before one database: which database, and what is this node's own affair.

A station on one PC keeps all its settings in its database file. Where nodes share a database, what differs from machine to
machine (folders, the key's file, a proxy) lies in the node's home, together with the database's address, in a file that only
its owner reads: the address may hold a password.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from online_station.shell.home import Home
from shared.durable import write_durably
from shared.errors import StoreDamaged

OWN: Final = frozenset({"key", "pin_file", "inbox", "outbox", "proxy", "ca_file"})
"""Settings that each node has for itself."""


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        database: URL of the database.
        name: Its name among the nodes; its leases bear it.
        settings: What is its own affair.
    """

    database: str
    name: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls, database: str) -> Node:
        """Return a node that no other is called like."""
        return cls(database, f"node-{secrets.token_hex(4)}")


def read_node(home: Home) -> Node | None:
    """Return the node in a home; None if its station has a database of its own.

    Raises:
        StoreDamaged: There is something in its place. Nothing was changed.
    """
    try:
        found = json.loads(home.node_file.read_text("utf-8"))
        return Node(str(found["database"]), str(found["name"]), {str(n): str(v) for n, v in found["settings"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # What the file holds is not shown: it may be a password.
        raise StoreDamaged(reason=home.node_file.name) from None


def write_node(home: Home, node: Node) -> None:
    """Keep a node's settings, readable by their owner only.

    Raises:
        OSError: What was there before is still there.
    """
    facts = {"database": node.database, "name": node.name, "settings": dict(node.settings)}
    write_durably(home.node_file, json.dumps(facts, ensure_ascii=False, indent=1).encode(), mode=0o600)


def where(home: Home) -> Path | str | None:
    """Return the database of the station in a home: a URL or a file; None if there is none yet.

    Raises:
        StoreDamaged: The node's settings cannot be read.
    """
    node = read_node(home)
    if node is not None:
        return node.database
    return home.database if home.database.is_file() else None

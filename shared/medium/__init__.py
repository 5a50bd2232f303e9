"""The removable medium: a stick, a card, a disc, or a plain folder that stands for one.

    port.py     the file operations a visit needs, relative to one open folder, and the machine's own
    stick.py    one visit: list, take, place, remove, log, finish
    names.py    what lies on a stick under which name
    confine.py  a process of its own for what a stranger wrote; imported by its own name, because it runs as a program
    renounce.py what that process can give up on Linux

One visit:

    with Stick.open(path, station="online-4f2a") as stick:
        listing = stick.list(".dat", ".ack")
        for entry in listing.files:
            taken = stick.take(entry, inbox, prove=prove, name=lambda proven: proven.header.name.file_name(".dat"))
        stick.place(result_path, "310…_0_202608010000.txt", Direction.TO_OFFLINE, now=clock.now())
        stick.finish()                       # only now: "safe to remove"

Both stations use the same calls; `Direction` says who is to read a file. Nothing here knows what a report is, beyond
its name: whether a file is what it claims is the caller's to prove.
"""

from shared.medium.names import Direction
from shared.medium.port import LOCAL, FileLook, FilePort, Folder, LocalFiles
from shared.medium.stick import Listing, Placement, Stick, StickFile, StickIdentity, Taken, Unusable

__all__ = [
    "LOCAL",
    "Direction",
    "FileLook",
    "FilePort",
    "Folder",
    "Listing",
    "LocalFiles",
    "Placement",
    "Stick",
    "StickFile",
    "StickIdentity",
    "Taken",
    "Unusable",
]

"""The removable medium: a stick, a card, a disc, or a plain folder that stands for one.

    port.py       the file operations a visit needs, relative to one open folder, and the machine's own
    names.py      what lies on a stick under which name
    container.py  many small files as one
    stick.py      one visit: list, copy out, place, remove, log, finish
    volumes.py    what is mounted here, and waiting until that changes
    find.py       which media are in, in what state, and which one is meant
    sticks.py     the sticks of one station, and what it remembers of them
    confine.py    a process that may do nothing but read the stick and write into one folder
    renounce.py   what that process can give up on Linux
    facts.py      what a file's signature proves, in the few words that carrying it needs
    reader.py     that process: lists, copies, proves
    reading.py    what it found, for the program that holds the card or the key
    carry.py      what is put on a stick, by itself or in a container, and what is removed again
    attend.py     visits whatever is plugged in
    slip.py       the sheet of paper that goes with a stick where hand-overs are signed for
    eject.py      unmounting, and what a person has to do before pulling

One visit:

    with Stick.open(path, station="online-4f2a") as stick:
        with read_stick(path, station=…, scratch=spool, trust=store, at=now, …) as harvest:
            …move what was proven to where it belongs…
        for carried in carry(stick, harvest, cargo, Direction.TO_OFFLINE, now=now, advanced=…):
            …write down that it lies there…
        tidy(stick, harvest, finished)
        stick.finish()                       # only now: "it can be pulled out"

Both stations use the same calls; `Direction` says who is to read a file.
"""

from shared.medium.names import Direction
from shared.medium.port import LOCAL, FileLook, FilePort, Folder, LocalFiles
from shared.medium.stick import Listing, Outgoing, Placement, Stick, StickFile, StickIdentity, Unusable

__all__ = [
    "LOCAL",
    "Direction",
    "FileLook",
    "FilePort",
    "Folder",
    "Listing",
    "LocalFiles",
    "Outgoing",
    "Placement",
    "Stick",
    "StickFile",
    "StickIdentity",
    "Unusable",
]

"""The field's fault catalogue: what a code means, who must act, whether the same bytes may be sent again.

Data, in both languages, for two readers: people (`explain`, the manual's pages, the advice beside every failure) and
the stations' cores, which read from here what a failure allows (`Fault.resend`, `Fault.stage_to_offline`) instead of
knowing codes themselves.

    find("271D", text)      one fault, by a bureau's code and its own words; unknown codes pass through
    search("锁死")           everything a person may mean: codes, device codes, error codes, plain words
    CATALOGUE["2715-…"]     one fault, by its permanent key

A code may have several causes with several remedies (271D, 2715, 2734): those are several faults with one code.
"""

from shared.faults.catalogue import CATALOGUE, ERRORS, EXITS, find, find_all, search
from shared.faults.describe import as_json, describe
from shared.faults.model import ACTORS, RESENDS, Actor, Fault, Resend

__all__ = [
    "ACTORS",
    "CATALOGUE",
    "ERRORS",
    "EXITS",
    "RESENDS",
    "Actor",
    "Fault",
    "Resend",
    "as_json",
    "describe",
    "find",
    "find_all",
    "search",
]

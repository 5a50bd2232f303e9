"""The record of what people did at the bureau: a chain of entries that cannot be edited without notice.

Every entry names the digest of the one before it, so that a change breaks the chain where it was made. Whoever may
write to the database can forge a whole new chain; against that stand checkpoints, signed with the bureau's key, which
say how long the chain was and how it ended. A checkpoint that lies outside the database, or outside the building,
cannot be taken back.

Plain values: no database, no clock. The store keeps entries, `verify` reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from shared.canonical import render_json, render_lines
from shared.clock import format_time
from shared.envelope.chain import TrustStore
from shared.envelope.roles import Role
from shared.envelope.textsign import prove_text, sign_text
from shared.errors import CheckpointInvalid
from shared.keys.port import Signer
from shared.model.fields import Lines, parse_count, parse_moment, parse_sha256
from shared.text import Text

FIRST: Final = "0" * 64
"""What the first entry names as the digest before it."""
CHECKPOINT_EVERY: Final = 16
"""After so many entries the bureau signs a checkpoint by itself, in the same transaction."""
_TITLE: Final = "税渡 审计检查点 1"
MAX_CHECKPOINT_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class By:
    """Who does something, and why.

    Attributes:
        operator: Who says to be at the keyboard.
        os_user: As whom the system knows the process; nobody can choose that with an option.
        reason: Why; empty where the act needs no explanation.
    """

    operator: str
    os_user: str
    reason: str = ""


PROGRAM: Final = By("(program)", "(program)")
"""Who acts where no person does: a test, a script that calls the bureau as a library."""


@dataclass(frozen=True)
class Entry:
    """One act.

    Attributes:
        number: From 1, without gaps.
        at: When.
        operator: Who says to have done it.
        os_user: As whom the system knew the process.
        action: Permanent word of what was done (`decide`, `declare`).
        subject: What it was done to: a report digest, a taxpayer, a card.
        reason: Why.
        detail: The facts of the act.
        previous: Digest of the entry before.
        digest: Of this one, `previous` included.
    """

    number: int
    at: str
    operator: str
    os_user: str
    action: str
    subject: str
    reason: str
    detail: Mapping[str, str] = field(default_factory=dict, hash=False)
    previous: str = FIRST
    digest: str = ""

    def computed(self, number: int | None = None) -> str:
        """Return the digest that belongs to what the entry says; as entry `number`, if one is given."""
        says = {
            "action": self.action,
            "at": self.at,
            "detail": dict(self.detail),
            "number": self.number if number is None else number,
            "operator": self.operator,
            "os_user": self.os_user,
            "previous": self.previous,
            "reason": self.reason,
            "subject": self.subject,
        }
        try:
            return hashlib.sha256(render_json(says)).hexdigest()
        except ValueError:
            return ""  # nothing that was ever written: equal to no digest


@dataclass(frozen=True)
class Checkpoint:
    """How long the chain was at a moment, and how it ended.

    Attributes:
        number: Of the last entry.
        digest: Of the last entry.
        at: When it was signed.
    """

    number: int
    digest: str
    at: datetime


def render_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return a checkpoint, signed."""
    body = render_lines(
        _TITLE,
        [
            ("末条序号", str(checkpoint.number)),
            ("末条摘要", checkpoint.digest),
            ("签发时间", format_time(checkpoint.at)),
        ],
    )
    return sign_text(body, signer, signing_time=checkpoint.at)


def prove_checkpoint(data: bytes, trust: TrustStore, *, at: datetime) -> Checkpoint:
    """Return what a checkpoint says, once its signature holds.

    Raises:
        CheckpointInvalid: It is no checkpoint.
        SignatureRefused: Altered, or not signed by the bureau.
        CertificateRefused: The signer's certificate is not acceptable.
    """
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise CheckpointInvalid(reason=Text("文件太大", "it is too large"))
    proven = prove_text(data, Role.BUREAU_RESULT, trust, at=at, error=CheckpointInvalid)
    lines = Lines(proven.body, _TITLE, CheckpointInvalid)
    with lines.values():
        found = Checkpoint(
            number=parse_count(lines.take("末条序号"), least=1),
            digest=parse_sha256(lines.take("末条摘要")),
            at=parse_moment(lines.take("签发时间")),
        )
    lines.end()
    return found


@dataclass(frozen=True)
class Breach:
    """One place where the record is not what was written.

    Attributes:
        kind: `changed`, `removed`, `reordered`, `truncated` or `rewritten`, as permanent words.
        first: Number of the first entry concerned.
        last: Number of the last entry concerned.
        text: The same for people.
    """

    kind: str
    first: int
    last: int
    text: Text


def verify(entries: Sequence[Entry], checkpoints: Sequence[Checkpoint]) -> list[Breach]:
    """Return every breach of the record, the earliest first; nothing means that it is whole.

    Args:
        entries: All entries in the order of their numbers.
        checkpoints: What the bureau has signed, from wherever it was kept; their signatures were proven before.
    """
    found = [*_broken_links(entries)]
    return [*found, *_against(entries, checkpoints, {breach.first for breach in found})]


def _broken_links(entries: Sequence[Entry]) -> Iterator[Breach]:
    expected, previous = 1, FIRST
    for entry in entries:
        if entry.number != expected:
            yield _breach("removed", expected, entry.number - 1)
        follows = entry.previous == previous or entry.number != expected
        if entry.computed() != entry.digest:
            place = _true_place(entry, entries)
            yield (
                _breach("changed", entry.number, entry.number)
                if place is None
                else Breach(
                    "reordered",
                    entry.number,
                    entry.number,
                    Text(
                        f"第 {entry.number} 条的位置上是第 {place} 条：次序被改动",
                        f"in the place of entry {entry.number} stands entry {place}: the order was changed",
                    ),
                )
            )
        elif not follows:
            # The entry is true to itself and names another predecessor than the one that stands there.
            yield _breach("rewritten", entry.number - 1, entry.number - 1)
        expected, previous = entry.number + 1, entry.digest


def _true_place(entry: Entry, entries: Sequence[Entry]) -> int | None:
    """Return the number under which an entry was written, if it is another one's place that it stands in."""
    for other in entries:
        if other.number != entry.number and entry.computed(other.number) == entry.digest:
            return other.number
    return None


def _against(entries: Sequence[Entry], checkpoints: Sequence[Checkpoint], known: set[int]) -> Iterator[Breach]:
    digests = {entry.number: entry.digest for entry in entries}
    last = entries[-1].number if entries else 0
    longest = max((each.number for each in checkpoints), default=0)
    good = 0
    for checkpoint in sorted(checkpoints, key=lambda each: each.number):
        if checkpoint.number > last:
            yield _breach("truncated", last + 1, longest)
            return
        if digests.get(checkpoint.number) == checkpoint.digest:
            good = checkpoint.number
        elif not any(good < number <= checkpoint.number for number in known):
            yield _breach("rewritten", good + 1, checkpoint.number)
            return


def _breach(kind: str, first: int, last: int) -> Breach:
    zh = f"第 {first} 条" if first == last else f"第 {first} 至 {last} 条"
    en = f"entry {first}" if first == last else f"entries {first} to {last}"
    said = {
        "changed": Text("内容被改动", "was changed"),
        "removed": Text("被删除", "removed"),
        "truncated": Text("被截去（检查点证明它们存在过）", "cut off; a signed checkpoint proves that there was more"),
        "rewritten": Text(
            "被整条改写或调换（与后一条或签名检查点不符）",
            "replaced as a whole: what follows, or a signed checkpoint, says otherwise",
        ),
    }[kind]
    return Breach(kind, first, last, Text(f"{zh}{said.zh}", f"{en} {said.en}"))

"""The invoicing PC at work: every verb as one method. Decide (the card, the cores), save, then act.

Each method can be run again at any time: what was done is recognised by the card, by digests and by true names, and
what a crash left half done is finished at the next opening.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from offline_station.card.port import CardDriver, CardReading, ClearRecord, Verdict
from offline_station.card.software import SoftwareCard, create_card_file
from offline_station.core.card_rules import CopyRecord, first_of, require_reportable
from offline_station.core.composing import check_detail, content_rows
from offline_station.core.figures import WHOLE_KIND, Figures, Totals, add_totals, figures_of, subtract_totals
from offline_station.core.next_action import Situation, next_action
from offline_station.core.supplement import new_to_card, used_counts
from offline_station.ledger.entries import ImportContext
from offline_station.ledger.figures import IssuedBatch, KindDelta
from offline_station.ledger.problems import FileReport
from offline_station.ledger.store import InvoiceFilter, Ledger
from offline_station.shell import arrivals
from offline_station.shell.arrivals import Arrival
from offline_station.shell.backup import Backup, make_backup, put_in_place, unpack_backup
from offline_station.shell.home import Home, HomeLock
from offline_station.shell.spool import Spool, SpooledFile, give_out
from offline_station.shell.store import ReportLife, StationStore
from shared.clock import Clock
from shared.durable import sweep, write_durably
from shared.envelope.seal import ReportDraft, seal_report
from shared.errors import (
    AlreadyInitialised,
    Ambiguous,
    CardFileInvalid,
    ConfigurationError,
    FileMissing,
    NameContradicts,
    NoResultYet,
    NotFound,
    NotInitialised,
    Outdated,
    SpoolMissing,
    StillProcessing,
    TaxferryError,
)
from shared.files import hash_file
from shared.ids import MachineNo, ReportKind, TaxpayerId
from shared.model.report import InvoiceKind
from shared.model.result import ProvenResult, prove_result
from shared.model.taxcard import MAX_TAXCARD_BYTES, TaxCard, parse_taxcard
from shared.states import CardState, OfflineState
from shared.text import Text
from shared.text.system import os_reason, shown_name

CARRY_THE_RECEIPT: Final = Text(
    "用 stick sync（或从 outbox 拷贝）把 .ack 带到上网机送交税局；之后正常开票",
    "carry the .ack to the Internet PC, which delivers it (stick sync, or copy it from the outbox); then go on invoicing",
)
Progress = Callable[[int, int | None, Text], None]
PROGRAM: Final = "offline-station"


def _silent(done: int, total: int | None, what: Text) -> None:
    """Show nothing."""


_INITIALISED: Final = "initialised"


@dataclass(frozen=True)
class Reported:
    """What `report` gave out.

    Attributes:
        copy: The copy that was reported.
        path: The file in the outbox.
        sealed_now: Whether it was sealed by this call; otherwise the kept bytes were given out again.
        finished: Whether the copy was cleared already, so that nothing was given out.
    """

    copy: CopyRecord
    path: Path
    size_bytes: int
    sealed_now: bool
    finished: bool = False


@dataclass(frozen=True)
class Refusal:
    """A file that is not the result that the card waits for, and why."""

    name: str
    error: TaxferryError
    moved_to: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What `result` found.

    Attributes:
        verdict: The card's word on the newest acceptable result; None if there was none.
        processing: Whether the only word is a `Y`.
        refused: Files that are something else.
        from_memory: Whether the card knew it before and no file was needed.
    """

    verdict: Verdict | None
    processing: bool = False
    refused: tuple[Refusal, ...] = ()
    from_memory: CopyRecord | None = None


@dataclass(frozen=True)
class Cleared:
    """What `clear` did."""

    record: ClearRecord
    ack: Path
    backup: Backup | None


@dataclass(frozen=True)
class Initialised:
    """What `init` did."""

    card_no: str
    taken_in: bool
    changed: tuple[str, ...] = ()


@dataclass
class Station:
    """One open invoicing PC. Use it in a `with` statement.

    Attributes:
        exclusive: Whether this process may change it. A reader looks at what is there and mends nothing.
    """

    home: Home
    card: CardDriver
    store: StationStore
    ledger: Ledger
    clock: Clock
    exclusive: bool = True
    _lock: HomeLock | None = field(default=None, repr=False)

    # Opening and closing

    @classmethod
    def initialise(
        cls, home: Home, card_file: Path | None, clock: Clock, *, outbox: Path | None = None, inbox: Path | None = None
    ) -> Initialised:
        """Take a card in, and set the folders (初始化). Safe to run again; a half-done move is finished.

        The card's file is removed once the card lies durably in this home: there is only one card.

        Raises:
            AlreadyInitialised: Another card is in here. Neither card was touched.
            CardFileInvalid: The file is not a card. It was left where it is.
            ConfigurationError: The folders cannot be used. The card was left where it is.
            FileMissing: There is no such file, and no card in here.
        """
        source = _read_card_file(card_file) if card_file is not None else None
        if source is None and not home.card.exists():
            raise FileMissing(what=card_file if card_file is not None else "--card")
        # Before the card moves: a folder that cannot be used must leave it where it is.
        for folder in (outbox, inbox):
            if folder is not None:
                _make_folder(folder)
        home.make()
        lock = HomeLock(home)
        try:
            taken_in = False
            if not home.card.exists():
                assert source is not None
                sweep(home.root)
                create_card_file(home.card, source, clock.now())
                taken_in = True
            card = SoftwareCard(home.card)
            try:
                issued = card.issued
                if source is not None and source != issued:
                    raise AlreadyInitialised(
                        what=Text(f"已装入卡 {issued.card_no}", f"card {issued.card_no} is in here already")
                    )
            finally:
                card.close()
            if source is not None and card_file is not None:
                # The same card, durable in here: the file outside is the second one, and goes.
                card_file.unlink(missing_ok=True)
            store = StationStore(home.station)
            try:
                changed = _set_folders(store, outbox, inbox)
                store.set_setting(_INITIALISED, issued.card_no)
                if taken_in:
                    store.note(clock.now(), "initialised", card_no=issued.card_no)
            finally:
                store.close()
            Ledger(home.ledger)
        finally:
            lock.release()
        return Initialised(issued.card_no, taken_in, changed)

    @property
    def memory_lost(self) -> bool:
        """Whether `station.db` was made anew since `init`: then the folders that were chosen are forgotten."""
        return not self.store.setting(_INITIALISED)

    @classmethod
    def open(cls, home: Home, clock: Clock, *, exclusive: bool = True) -> Station:
        """Open the station, and finish what a crash left half done.

        Raises:
            NotInitialised: There is no card in here.
            StationBusy: Another process is at work, and `exclusive` was asked for.
        """
        if not home.card.exists():
            raise NotInitialised(home=home.root, program=PROGRAM)
        lock = None
        if exclusive:
            home.make()
            lock = HomeLock(home)
        with contextlib.ExitStack() as undo:
            if lock is not None:
                undo.callback(lock.release)
            card = SoftwareCard(home.card)
            undo.callback(card.close)
            store = StationStore(home.station)
            undo.callback(store.close)
            station = cls(home, card, store, Ledger(home.ledger), clock, exclusive=exclusive, _lock=lock)
            if exclusive:
                station.recover()
            undo.pop_all()
        return station

    def close(self) -> None:
        """Let go of everything."""
        self.store.close()
        self.card.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        """Return the station."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def recover(self) -> None:
        """Bring ledger and life-lines to what the card says; the card is the authority."""
        for folder in (self.home.root, self.home.spool, self.home.results, self.home.quarantine, self.home.backups):
            sweep(folder)
        for leftover in self.home.root.glob("*.restored"):  # of a restore that did not finish; the backup has it still
            leftover.unlink(missing_ok=True)
        for folder in (self.home.outbox, self.home.inbox):  # folders elsewhere may be shared with other stations
            sweep(folder)
        self.ledger.recover(self.card.knows_batch)
        self._follow()
        copy = self.card.open_copy()
        if copy is not None and not self._frozen(copy) and not self.behind():
            self._freeze(copy)

    def _follow(self) -> None:
        self.store.follow_card(self.card.history(), self.clock.now())

    # Folders

    @property
    def outbox(self) -> Path:
        """The folder where reports and clear receipts are put (传出目录)."""
        return Path(self.store.setting("outbox") or self.home.outbox)

    @property
    def inbox(self) -> Path:
        """The folder where results are looked for."""
        return Path(self.store.setting("inbox") or self.home.inbox)

    @property
    def stick_path(self) -> Path | None:
        """The stick that was prepared or used last."""
        text = self.store.setting("stick")
        return Path(text) if text else None

    # status

    def read(self) -> CardReading:
        """Return the card's state (报税状态)."""
        return self.card.read(self.clock.now())

    def life_of(self, copy: CopyRecord | None) -> ReportLife | None:
        """Return the life-line of a copy."""
        return self.store.report(copy.nonce) if copy is not None else None

    def next_action(self, reading: CardReading | None = None) -> Text:
        """Return the next human action."""
        reading = reading or self.read()
        copy = reading.facts.open_copy
        life = self.life_of(copy)
        waiting = (w.state is OfflineState.CLEARED and not w.ack_stick for w in self.store.reports())
        if reading.state is CardState.DONE and not reading.locked and any(waiting):
            return CARRY_THE_RECEIPT
        return next_action(
            Situation(
                state=reading.state,
                locked=reading.locked,
                copy=copy,
                life=life.state if life else None,
                carried_to=life.stick if life else "",
                carried_seconds=(reading.at - life.changed_at).total_seconds() if life else 0.0,
                days_left=reading.days_left,
            )
        )

    # invoices

    def import_files(
        self, paths: Sequence[Path], *, kind: InvoiceKind | None = None, progress: Progress = _silent
    ) -> list[FileReport]:
        """Take over invoice lists, each wholly or not at all; the card counts what the ledger takes."""
        found = []
        for path in paths:
            reading = self.read()
            facts = reading.facts
            behind = self.behind()
            context = ImportContext(
                taxpayer_id=TaxpayerId(facts.taxpayer_id),
                machine_no=MachineNo(facts.machine_no),
                today=reading.at.date(),
                open_from=min([facts.open_from, *(first_of(month) for month in behind)]),
                kind=kind,
            )
            what = Text(f"导入 {path.name}", f"importing {path.name}")

            def shown(done: int, what: Text = what) -> None:
                progress(done, None, what)

            try:
                report = self.ledger.import_file(path, context, record=self._record, progress=shown)
            except TaxferryError:
                # The card refused the batch: the ledger lets go of it at once, not only at the next start.
                self.ledger.recover(self.card.knows_batch)
                raise
            found.append(report)
            self.store.note(
                self.clock.now(),
                "imported" if report.error is None else "import-refused",
                file=shown_name(path.name),
                format=report.format,
                invoices=report.invoices,
                skipped=report.skipped,
                voided=report.voided,
                problems=report.problem_count,
            )
        return found

    def behind(self) -> dict[str, Totals]:
        """Return, by month, what the card has counted and the ledger does not hold: a restored ledger is older."""
        gap: dict[str, Totals] = {}
        for month, totals in self.read().facts.totals.items():
            counted = sum(used_counts(totals).values())
            if self.ledger.count(InvoiceFilter(month=month)) != counted:
                rest = subtract_totals(totals, self.ledger.summary(month))
                if rest:
                    gap[month] = rest
        return gap

    def _record(self, batch: IssuedBatch) -> None:
        if self.card.knows_batch(batch.batch_id):
            return
        gap = self.behind()
        if not gap:
            self.card.record_issued(batch)
            return
        brought = {month: add_totals(*(d.totals for d in deltas)) for month, deltas in batch.months.items()}
        new = new_to_card(brought, gap)
        if new:
            self.card.record_issued(IssuedBatch(batch.batch_id, {m: _deltas(t) for m, t in new.items()}))

    # copy

    def copy(self, *, kind: ReportKind, again: bool = False) -> CopyRecord:
        """Freeze the figures on the card (抄税), and what they cover in the ledger."""
        made = self.card.copy(self.clock.now(), kind=kind, again=again)
        if not self.behind():
            self._freeze(made)
        self._follow()
        return made

    def _freeze(self, copy: CopyRecord) -> None:
        superseded = [c.nonce for c in self.card.history() if c.superseded_by == copy.nonce]
        self.ledger.freeze(
            copy.nonce,
            kind=copy.kind,
            period_start=copy.period_start,
            period_end=copy.period_end,
            supersedes=superseded[0] if superseded else None,
        )

    def _frozen(self, copy: CopyRecord) -> bool:
        try:
            self.ledger.copy_count(copy.nonce)
        except NotFound:
            return False
        return True

    # report

    def report(self, *, reseal: bool = False, progress: Progress = _silent) -> Reported:
        """Check detail against summary, seal once, and give the file out (远程报税).

        Raises:
            Locked: The lock date has passed.
            NotCopied: Nothing is copied.
            DetailMismatch: Detail and summary differ. Nothing was sealed.
            SpoolMissing: The sealed file is gone; `--reseal` makes another one.
        """
        now = self.clock.now()
        reading = self.card.read(now)
        if reading.facts.open_copy is None and reading.state is CardState.DONE and not reading.locked:
            done = self._report_again_after_clear(reading)
            if done is not None:
                return done
        copy = require_reportable(reading.facts, now)
        if copy.report_digest is not None and (not reseal or copy.success is not None):
            kept = self._kept(copy, trust_at=reading.at)
            if kept is None:
                raise SpoolMissing(name=copy.name.file_name(".dat"))
            self.store.sealed_file(copy.nonce, file_sha256=kept.sha256, size_bytes=kept.size_bytes)
            path = give_out(kept.path, kept.sha256, self.outbox, copy.name.file_name(".dat"))
            return Reported(copy, path, kept.size_bytes, sealed_now=False)
        if not self._frozen(copy):
            # While the ledger lacks detail, freezing would leave out what is imported again.
            missing = add_totals(*(t for month, t in self.behind().items() if copy.covers_month(month)))
            check_detail(copy, subtract_totals(figures_of(copy.summaries, copy.rates), missing))
            self._freeze(copy)
        check_detail(copy, self.ledger.detail_totals(copy.nonce))
        kept = self._seal(copy, reading.at, progress)
        path = give_out(kept.path, kept.sha256, self.outbox, copy.name.file_name(".dat"))
        bound = self.card.open_copy()
        assert bound is not None
        return Reported(bound, path, kept.size_bytes, sealed_now=True)

    def _report_again_after_clear(self, reading: CardReading) -> Reported | None:
        copy = reading.facts.last_cleared
        kept = self._kept(copy, trust_at=reading.at) if copy is not None else None
        if copy is None or kept is None:
            return None
        outside = self.outbox / copy.name.file_name(".dat")
        return Reported(copy, outside if outside.exists() else kept.path, kept.size_bytes, False, finished=True)

    def _kept(self, copy: CopyRecord, *, trust_at: datetime) -> SpooledFile | None:
        if copy.report_digest is None:
            return None
        life = self.life_of(copy)
        return Spool(self.home.spool).find(
            copy.report_digest,
            known_sha256=life.file_sha256 if life else "",
            trust=self.card.trust_in_force().store(),
            at=trust_at,
            elsewhere=self.outbox / copy.name.file_name(".dat"),
        )

    def _seal(self, copy: CopyRecord, at: datetime, progress: Progress) -> SpooledFile:
        recipients = self.card.trust_in_force().envelope_certificates(at)
        if not recipients:
            raise ConfigurationError(
                reason=Text("信任文件中没有当前有效的税局公钥", "the trust file has no bureau key that is valid now")
            )
        spool = Spool(self.home.spool)
        spool.remove_strays(self._known_digests())
        total, what = copy.invoice_count, Text("生成报税文件（张）", "sealing (invoices)")
        draft = ReportDraft(
            taxpayer_id=copy.name.taxpayer_id,
            machine_no=copy.name.machine_no,
            stamp=copy.name.stamp,
            period_start=copy.period_start,
            period_end=copy.period_end,
            card_no=copy.card_no,
            sequence=copy.sequence,
            nonce=copy.nonce,
            invoice_count=total,
        )
        temporary = spool.temporary()
        try:
            with temporary.open("xb") as out:
                sealed = seal_report(
                    out,
                    draft,
                    content_rows(copy, self.ledger.copy_rows(copy.nonce)),
                    signer=self.card.signer(),
                    recipients=recipients,
                    signing_time=at,
                    progress=lambda done: progress(done, total, what),
                )
            path = spool.keep(temporary, sealed.digest)
        finally:
            temporary.unlink(missing_ok=True)
        # Nobody has the file yet: first the card waits for this digest, then it is given out.
        self.card.bind_report(copy.nonce, sealed.digest)
        self._follow()
        self.store.sealed_file(copy.nonce, file_sha256=sealed.file_sha256, size_bytes=sealed.size_bytes)
        return SpooledFile(sealed.digest, path, sealed.file_sha256, sealed.size_bytes)

    def _known_digests(self) -> set[str]:
        known = {str(copy.report_digest) for copy in self.card.history() if copy.report_digest}
        return known | {str(e.facts.get("report_digest")) for e in self.store.events() if e.event == "sealed"}

    # result

    def result(
        self, named: Path | None = None, *, more: Sequence[Arrival] = (), scanned: Sequence[Arrival] = ()
    ) -> Answer:
        """Find, prove and show the result (报税结果); the card takes notice of what is for it.

        Args:
            named: The file that the operator names; it stays where it is. Else the inbox is searched.
            more: What lies on a stick.
            scanned: What QR codes carried; then nothing else is looked at.

        Raises:
            TaxferryError: For a named file, or the only scanned one: why it is refused. The card is untouched.
            NoResultYet: Nothing was found.
        """
        if named is not None:
            return self._take_only(arrivals.read_named(named))
        if scanned:
            return self._take_only(scanned[0]) if len(scanned) == 1 else self._search(scanned)
        self._take_trust()
        return self._search([*arrivals.scan(self.inbox), *more])

    def _take_only(self, arrival: Arrival) -> Answer:
        try:
            return Answer(self._take_in(arrival))
        except StillProcessing:
            return Answer(None, processing=True)

    def _take_trust(self) -> None:
        data = arrivals.read_trust(self.inbox)
        if data is None:
            return
        try:
            before = self.card.trust_in_force().version
            version = self.card.update_trust(data, self.clock.now())
        except Outdated:
            return
        except TaxferryError as error:
            arrivals.set_aside(self.inbox / arrivals.TRUST_NAME, self.home.quarantine, error, self.clock.now())
            return
        if version != before:
            self.store.note(self.clock.now(), "trust", version=version)

    def _search(self, found: Sequence[Arrival]) -> Answer:
        refused: list[Refusal] = []
        proven: list[tuple[int, Arrival]] = []
        processing = False
        # The same file may lie in the inbox and on the stick; the one in the inbox comes first and is taken.
        for arrival in {arrival.data: arrival for arrival in reversed(found)}.values():
            try:
                proven.append((self._prove(arrival).result.result_no, arrival))
            except StillProcessing as error:
                processing = True
                refused.append(self._refuse(arrival, error))
            except TaxferryError as error:
                refused.append(self._refuse(arrival, error))
        verdicts = []
        # Numbers grow: the lowest goes first, so that every one of them is used up in its turn.
        for _, arrival in sorted(proven, key=lambda pair: pair[0]):
            try:
                verdicts.append(self._take_in(arrival))
            except TaxferryError as error:
                refused.append(self._refuse(arrival, error))
        current = [v for v in verdicts if v.effect != "applied-before"]
        if verdicts:
            return Answer((current or verdicts)[-1], refused=tuple(refused))
        copy = self.card.open_copy()
        if copy is not None and (copy.success or copy.failure):
            return Answer(None, refused=tuple(refused), from_memory=copy)
        if processing:
            return Answer(None, processing=True, refused=tuple(refused))
        if not refused:
            reading = self.read()
            if copy is None and reading.state is CardState.DONE and reading.facts.last_cleared is not None:
                return Answer(None, from_memory=reading.facts.last_cleared)
            raise NoResultYet(
                reason=Text(
                    f"{self.inbox} 和U盘上没有找到报税结果", f"no result was found in {self.inbox} or on the stick"
                ),
                next_action=self.next_action(reading),
            )
        return Answer(None, refused=tuple(refused))

    def _prove(self, arrival: Arrival) -> ProvenResult:
        reading = self.read()
        proven = prove_result(arrival.data, self.card.trust_in_force().store(), at=reading.at, name=arrival.name)
        if arrival.claimed is not None and arrival.claimed != proven.result.name:
            raise NameContradicts(named=arrival.claimed.in_words, signed=proven.result.name.in_words)
        return proven

    def _take_in(self, arrival: Arrival) -> Verdict:
        """Let the card take notice, keep the file, and only then take it out of the inbox."""
        self._prove(arrival)
        verdict = self.card.examine(arrival.data, self.clock.now())
        kept = self.home.results / f"{verdict.result.name.stem}.{verdict.result.result_no}.txt"
        if not kept.exists():
            write_durably(kept, arrival.data)
        self._follow()
        if verdict.result.last_acknowledged is not None:
            self.store.acknowledged_up_to(verdict.result.last_acknowledged, self.card.history(), self.clock.now())
        if arrival.path is not None:
            arrival.path.unlink(missing_ok=True)
        return verdict

    def _refuse(self, arrival: Arrival, error: TaxferryError) -> Refusal:
        """Explain a file; what lies in the inbox and can be of no use to any station is set aside."""
        moved = None
        if arrival.path is not None and not self._is_another_stations(arrival):
            moved = arrivals.set_aside(arrival.path, self.home.quarantine, error, self.clock.now())
            self.store.note(self.clock.now(), "quarantined", file=shown_name(arrival.name), code=error.code)
        return Refusal(arrival.name, error, moved)

    def _is_another_stations(self, arrival: Arrival) -> bool:
        """Return whether a proven result is for another machine: several stations may share one inbox."""
        try:
            name = self._prove(arrival).result.name
        except TaxferryError:
            return False
        facts = self.read().facts
        return (name.taxpayer_id, name.machine_no) != (facts.taxpayer_id, facts.machine_no)

    # clear

    def clear(self) -> Cleared:
        """Back up, clear the card with the proven success, and put the clear receipt out (清卡).

        Raises:
            NoSuccess: No proven success is here.
            NotCopied: There is nothing to clear.
        """
        now = self.clock.now()
        reading = self.card.read(now)
        backup = None
        if reading.state is CardState.TO_CLEAR:
            backup = make_backup(self.home, reading, now, reason="before-clear")
        record = self.card.clear(now)
        self._follow()
        ack = self.outbox / record.copy.name.file_name(".ack")
        if not ack.is_file() or hash_file(ack)[0] != hashlib.sha256(record.ack).hexdigest():
            ack.parent.mkdir(parents=True, exist_ok=True)
            write_durably(ack, record.ack, mode=0o644)
        return Cleared(record, ack, backup)

    # backup and restore

    def backup(self, target: Path | None = None) -> Backup:
        """Make a backup by hand (数据备份)."""
        made = make_backup(self.home, self.read(), self.clock.now(), reason="by-hand", target=target)
        self.store.note(self.clock.now(), "backup", file=shown_name(made.path.name), bytes=made.size_bytes)
        return made

    @classmethod
    def restore(cls, home: Home, path: Path, clock: Clock) -> tuple[Backup, Path, dict[str, Totals]]:
        """Put a backup's ledger and memory in place (数据恢复). The card is never rolled back.

        Returns:
            The backup, the folder that keeps what was there, and what the ledger now lacks by month.

        Raises:
            BackupInvalid: The backup is not whole or not this station's. Nothing was changed.
        """
        if not home.card.exists():
            raise NotInitialised(home=home.root, program=PROGRAM)
        home.make()
        lock = HomeLock(home)
        try:
            card = SoftwareCard(home.card)
            try:
                issued = card.issued
            finally:
                card.close()
            backup = unpack_backup(
                path,
                home.root,
                taxpayer_id=issued.taxpayer_id,
                machine_no=issued.machine_no,
                card_no=issued.card_no,
            )
            kept = put_in_place(home, clock.now())
        finally:
            lock.release()
        with cls.open(home, clock) as station:
            station.store.note(clock.now(), "restored", file=shown_name(path.name), made_at=backup.made_at)
            return backup, kept, station.behind()

    # history

    def find(self, wanted: str) -> ReportLife:
        """Return the report of an ID: a digest, a unique beginning of one, or a name with or without suffix.

        Raises:
            NotFound: None is meant.
            Ambiguous: Several are.
        """
        text = wanted.strip()
        stem = text.rsplit(".", 1)[0] if text.lower().endswith((".dat", ".txt", ".ack")) else text
        lives = list(self.store.reports())
        named = [life for life in lives if life.name.stem == stem.upper()]
        if named:
            return named[-1]  # a superseding copy of the period has the same name: the latest is meant
        if text:
            low = text.lower()
            meant = [life for life in lives if (life.digest or "").startswith(low) or life.nonce.startswith(low)]
            if len(meant) == 1:
                return meant[0]
            if meant:
                raise Ambiguous(what=wanted, found="、".join((m.digest or m.nonce)[:16] for m in meant))
        raise NotFound(what=wanted)

    def copies(self) -> Iterator[tuple[CopyRecord, ReportLife]]:
        """Go through all copies with their life-lines, the newest first."""
        for copy in reversed(self.card.history()):
            life = self.store.report(copy.nonce)
            if life is not None:
                yield copy, life

    # What a visit to a stick needs

    def waiting_report(self) -> tuple[CopyRecord, SpooledFile] | None:
        """Return the open copy's sealed report while it waits for a success."""
        copy = self.card.open_copy()
        if copy is None or copy.success is not None:
            return None
        kept = self._kept(copy, trust_at=self.read().at)
        return (copy, kept) if kept is not None else None

    def waiting_acks(self) -> list[tuple[CopyRecord, bytes]]:
        """Return the clear receipts of which the bureau has not yet said that they arrived."""
        found = []
        for copy, life in self.copies():
            if life.state is OfflineState.CLEARED:
                ack = self.card.acknowledgement(copy.nonce)
                if ack is not None:
                    found.append((copy, ack))
        return found


def _read_card_file(path: Path) -> TaxCard | None:
    """Return the card in a file, or None if the file is not there (any more)."""
    if not path.exists():
        return None
    data = arrivals.read_ordinary(path, MAX_TAXCARD_BYTES, follow=True)
    if data is None:
        raise CardFileInvalid(
            reason=Text(f"{path} 读不出，或不是普通文件", f"{path} cannot be read, or is no ordinary file")
        )
    return parse_taxcard(data)


def _set_folders(store: StationStore, outbox: Path | None, inbox: Path | None) -> tuple[str, ...]:
    changed = []
    wanted: Mapping[str, Path | None] = {"outbox": outbox, "inbox": inbox}
    for key, folder in wanted.items():
        if folder is None:
            continue
        text = str(folder.absolute())
        if store.setting(key) != text:
            store.set_setting(key, text)
            changed.append(key)
    return tuple(changed)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = os_reason(error)
        raise ConfigurationError(
            reason=Text(f"文件夹 {folder} 不可用（{why.zh}）", f"folder {folder} cannot be used ({why.en})")
        ) from None


def _deltas(totals: Totals) -> list[KindDelta]:
    found = []
    for kind in sorted({kind for kind, _ in totals}):
        rates = {rate: figures for (k, rate), figures in totals.items() if k == kind and rate != WHOLE_KIND}
        found.append(KindDelta(kind, totals.get((kind, WHOLE_KIND), Figures()), rates))
    return found

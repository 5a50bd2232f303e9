"""The pages of the month: the first page, copying, reporting, the result, clearing, and what came of each."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

from offline_station.core.card_rules import CopyRecord
from offline_station.core.figures import WHOLE_KIND, Figures, Totals, figures_of
from offline_station.shell import visit as sticks
from offline_station.shell.operators import Right
from offline_station.shell.station import Station
from offline_station.web.desk import Desk, thrown_away
from offline_station.web.done import Done, answered, reported
from offline_station.web.standing import copy_words, due_month, month_words
from shared.errors import NoSuccess, NotCopied, NothingChosen, PageUnknown
from shared.ids import ReportKind
from shared.model.report import KIND_NAMES
from shared.states import CardState
from shared.text import Text, both
from shared.web.site import Answer, Page, Visit
from shared.web.work import Progress

_CLOCK_TOLERANCE: Final = timedelta(minutes=5)
_MAX_RESULT: Final = 1 << 20


def add_month_pages(desk: Desk) -> None:
    """Declare them."""
    site = desk.site

    @site.page("/")
    def home(visit: Visit) -> Answer:
        with desk.look() as station:
            found = desk.found_sticks(station)
            reading = station.read()
            return Page(
                "home.html",
                reading=reading,
                standing=desk.standing(station, found),
                sticks=found,
                warnings=_warnings(desk, station),
                alone=not desk.operators.any,
            )

    @site.page("/progress/{id}")
    def progress(visit: Visit) -> Answer:
        work = site.bench.find(visit.parts["id"])
        if work is None:
            raise PageUnknown
        if not work.finished:
            return Page("working.html", work=work)
        with desk.look() as station:
            next_step = desk.standing(station, desk.found_sticks(station)).next
        if work.error is not None:
            return Page("failed.html", work=work, card=site.card_of(work.error), next=None)
        done: Done = work.outcome
        return Page("done.html", work=work, done=done, next=done.next or next_step)

    # Copying

    @site.page("/copy")
    def copy_page(visit: Visit) -> Answer:
        with desk.look() as station:
            reading = station.read()
            open_copy = reading.facts.open_copy
            month = due_month(reading.at)
            again = bool(visit.query.get("again")) and open_copy is not None
            adhoc = bool(visit.query.get("adhoc"))
            totals = station.ledger.summary(month)
            return Page(
                "copy.html",
                reading=reading,
                month=month_words(month),
                rows=table_of(totals),
                count=sum(f.used for (_, rate), f in totals.items() if rate == WHOLE_KIND),
                again=again,
                adhoc=adhoc,
                open_copy=open_copy,
                old=copy_words(open_copy) if open_copy else None,
                ready=reading.state is CardState.TO_COPY or again or adhoc,
                behind=sorted(station.behind()),
                standing=desk.standing(station, ()),
            )

    @site.action("/copy")
    def copy(visit: Visit) -> Answer:
        kind: ReportKind = "adhoc" if visit.form.get("adhoc") else "period"
        again = bool(visit.form.get("again"))

        def do(station: Station, _progress: Progress) -> Done:
            made = station.copy(kind=kind, again=again)
            words = copy_words(made)
            lines = [
                Text(
                    f"卡上已固定这一期的 {made.invoice_count} 张发票。",
                    f"{made.invoice_count} invoices are frozen on the card.",
                )
            ]
            if made.invoice_count == 0:
                lines = [
                    Text(
                        "本期没有发票：零申报，照常报税和清卡。",
                        "No invoices: a zero report, which is reported and cleared like any other.",
                    )
                ]
            return Done(
                Text(f"{words.zh}抄税成功", f"{words.en} is copied"),
                facts=_copy_facts(made),
                lines=lines,
                slip=f"/history/{made.nonce}/slip",
            )

        return desk.start(visit, "copy", Text("抄税处理", "Copying"), do)

    # Reporting

    @site.page("/report")
    def report_page(visit: Visit) -> Answer:
        with desk.look() as station:
            found = desk.found_sticks(station)
            return Page("report.html", standing=desk.standing(station, found), sticks=found, outbox=station.outbox)

    @site.action("/report")
    def report(visit: Visit) -> Answer:
        reseal, again = bool(visit.form.get("reseal")), bool(visit.form.get("again"))

        def do(station: Station, progress: Progress) -> Done:
            made = station.report(reseal=reseal, progress=progress)
            label: str | None = None
            if again and not made.finished:
                label = sticks.put_report(station, None, progress=progress).label
            elif not made.finished:
                label = sticks.put_report_on_stick(station)
            return reported(made, label)

        return desk.start(
            visit, "report", Text("远程报税：核对、签名、加密", "Reporting: checking, signing, encrypting"), do
        )

    # The result

    @site.page("/result")
    def result_page(visit: Visit) -> Answer:
        with desk.look() as station:
            found = desk.found_sticks(station)
            return Page("result.html", standing=desk.standing(station, found), sticks=found, inbox=station.inbox)

    @site.action("/result")
    def result(visit: Visit) -> Answer:
        def do(station: Station, _progress: Progress) -> Done:
            found = desk.found_sticks(station)
            done = answered(station.result(more=sticks.results_on_stick(station)))
            desk.note_seen(station, found)
            return done

        return desk.start(visit, "result", Text("取回并验证报税结果", "Taking the result in, and proving it"), do)

    @site.action("/result/file", max_bytes=_MAX_RESULT)
    def result_file(visit: Visit) -> Answer:
        uploads = visit.files.get("file", ())
        if not uploads:
            raise NothingChosen(what=Text("报税结果文件（.txt）", "a result (.txt)"))
        folder, paths = desk.keep_uploads(uploads)

        def do(station: Station, _progress: Progress) -> Done:
            with thrown_away(folder):
                return answered(station.result(paths[0]))

        return desk.start(visit, "result", Text("验证报税结果", "Proving the result"), do)

    # Clearing

    @site.page("/clear")
    def clear_page(visit: Visit) -> Answer:
        with desk.look() as station:
            reading = station.read()
            copy = reading.facts.open_copy
            if copy is None or copy.success is None:
                return Page("clear.html", copy=None, standing=desk.standing(station, desk.found_sticks(station)))
            return Page(
                "clear.html",
                copy=copy,
                words=copy_words(copy),
                success=copy.success,
                reading=reading,
                rows=table_of_copy(copy),
                events=station.store.events(copy.nonce),
            )

    @site.action("/clear")
    def clear(visit: Visit) -> Answer:
        desk.need(visit, Right.CLEAR)
        meant = visit.form.get("nonce", "")
        if visit.form.get("sure") != "yes":
            raise NothingChosen(what=Text("确认清卡的方框", "the box that says you are sure"))

        def do(station: Station, _progress: Progress) -> Done:
            copy = station.read().facts.open_copy
            if copy is None:
                raise NotCopied(
                    reason=Text("没有待清卡的抄税", "there is no copy to clear"),
                    next_action=Text("回到首页", "go to the first page"),
                )
            if copy.nonce != meant:
                raise NoSuccess(
                    reason=Text("卡上的抄税已经换了", "the copy on the card is another one by now"),
                    next_action=Text("回到首页重新查看", "look again, from the first page"),
                )
            return _cleared(station)

        return desk.start(visit, "clear", Text("清卡", "Clearing"), do)


def _cleared(station: Station) -> Done:
    done = station.clear()
    reading = station.read()
    words = copy_words(done.record.copy)
    facts = [
        (Text("新的锁死日期", "New lock date"), reading.facts.lock_date),
        (Text("上传截止日期", "Upload deadline"), reading.upload_deadline),
        (Text("下次抄税起始", "Next period from"), reading.next_period_start),
        (Text("清卡回执", "Clear receipt"), done.ack.name),
    ]
    if done.backup is not None:
        facts.append((Text("清卡前的备份", "Backup from before"), done.backup.path.name))
    return Done(
        Text(f"{words.zh}清卡成功", f"{words.en} is cleared"),
        facts=facts,
        lines=[
            Text(
                "现在可以重新启动开票软件；启动完成前不要拔卡。",
                "The invoicing software may restart now; leave the card in until it has.",
            ),
            Text(
                "发票明细和报税记录都保留着：清掉的只是卡上已报的汇总。",
                "Invoices and records are all kept: only the reported figures on the card are gone.",
            ),
        ],
        slip=f"/history/{done.record.copy.nonce}/slip",
    )


def _copy_facts(copy: CopyRecord) -> list[tuple[Text, object]]:
    return [
        (
            Text("所属期", "Period"),
            Text(f"{copy.period_start} 至 {copy.period_end}", f"{copy.period_start} to {copy.period_end}"),
        ),
        (Text("发票", "Invoices"), Text(f"{copy.invoice_count} 张", str(copy.invoice_count))),
        (Text("抄税序号", "Sequence"), copy.sequence),
    ]


def _warnings(desk: Desk, station: Station) -> list[Text]:
    found = []
    reading = station.read()
    if station.memory_lost:
        found.append(
            Text(
                "设置与经过的记录丢失过，已按卡重建；报税数据和发票没有丢失。请在“备份”里恢复，或重新设置文件夹。",
                "Settings and life-lines were lost and made anew from the card; no report or invoice is lost. Restore a backup, or set the folders again.",
            )
        )
    if reading.at - desk.clock.now() > _CLOCK_TOLERANCE:
        found.append(
            Text(
                "本机时钟比税局时间慢，请校正；判断按税局时间进行。",
                "This PC's clock is behind the bureau's: correct it. Decisions use the bureau's time.",
            )
        )
    return found


# Figures as tables


def table_of(totals: Totals) -> list[dict[str, object]]:
    """Return figures by kind and rate, as rows with a sum for each kind."""
    rows: list[dict[str, object]] = []
    for kind in sorted({kind for kind, _ in totals}):
        rates = {rate: f for (k, rate), f in totals.items() if k == kind and rate != WHOLE_KIND}
        rows += [_row(kind, rate, figures) for rate, figures in sorted(rates.items(), reverse=True)]
        rows.append(_row(kind, WHOLE_KIND, totals.get((kind, WHOLE_KIND), Figures())))
    return rows


def _row(kind: str, rate: str, figures: Figures) -> dict[str, object]:
    return {
        "kind": kind,
        "name": KIND_NAMES[kind],
        "rate": rate_words(rate) if rate != WHOLE_KIND else None,
        "count": figures.positive_count + figures.negative_count,
        "voided": figures.positive_void_count + figures.negative_void_count + figures.blank_void_count,
        "amount": figures.positive_amount + figures.negative_amount,
        "tax": figures.positive_tax + figures.negative_tax,
    }


def table_of_copy(copy: CopyRecord) -> list[dict[str, object]]:
    """Return a copy's frozen figures, as rows."""
    return table_of(figures_of(copy.summaries, copy.rates))


_RATES: Final = {
    "exempt": Text("免税", "exempt"),
    "untaxed": Text("不征税", "untaxed"),
    "margin": Text("差额征税", "margin"),
    "zero": Text("0%", "0%"),
}


def rate_words(rate: str) -> Text:
    """Return a rate as people say it."""
    return _RATES.get(rate) or both(f"{(Decimal(rate) * 100).normalize():f}%")

"""The pages of the invoicing PC, as forms and words: the month, the people, the mistakes. No JavaScript is needed."""

from __future__ import annotations

import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from openpyxl import load_workbook

from offline_station.shell.operators import Operators, Role
from offline_station.shell.station import Station
from shared.clock import FixedClock
from shared.model.taxcard import write_taxcard
from tests.support.offline import NOW, new_station, taxcard
from tests.support.pages import ADMIN, ADMIN_PASSWORD, CJK, CLERK, CLERK_PASSWORD, Counter, counter
from tests.support.web import Browser

DATA = {"上海某某贸易有限公司", "财务红色", "中文", ADMIN, CLERK, "发票清单", "开票", "机", "盘", "未申报", "税渡"}
"""Chinese that an English page may show: names, and what others wrote."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = new_station(tmp_path_factory.mktemp("template"), FixedClock(NOW))
    return home.root


@pytest.fixture(scope="module")
def staffed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Path(shutil.copytree(template, tmp_path_factory.mktemp("staffed") / "home"))
    people = Operators(home / "operators.json")
    people.add(ADMIN, Role.ADMINISTRATOR, ADMIN_PASSWORD, NOW)
    people.add(CLERK, Role.OPERATOR, CLERK_PASSWORD, NOW)
    return home


@pytest.fixture
def at(tmp_path: Path, template: Path) -> Iterator[Counter]:
    with counter(tmp_path, template) as found:
        yield found


@pytest.fixture
def office(tmp_path: Path, staffed: Path) -> Iterator[Counter]:
    with counter(tmp_path, staffed) as found:
        yield found


def month_until_success(at: Counter, browser: Browser) -> None:
    """Walk the month up to a proven success."""
    at.plug_in()
    at.do(browser, "/invoices/import", {"files": at.invoices()})
    at.do(browser, "/copy")
    at.do(browser, "/report")
    at.answer()
    assert "报税成功" in at.do(browser, "/result").words


def test_the_month_from_the_first_page_to_the_receipt(at: Counter) -> None:
    at.plug_in()
    me = at.browser()
    assert "2026年8月17日 还有 12 天" in me.page.words
    assert "2026年7月的发票还没有抄税。" in me.page.words
    me.get("/invoices")
    found = at.do(me, "/invoices/import", {"files": at.invoices()})
    assert "导入 6 张发票" in found.words
    assert "2026年7月已导入的发票" in me.get("/copy").words
    assert "2026年7月抄税成功" in at.do(me, "/copy").words
    found = at.do(me, "/report")
    assert "已放上U盘“财务红色”" in found.words
    assert "现在可以拔出U盘" in found.words
    assert "在上网机" in found.words
    assert "等结果带回" in me.get("/").words
    at.answer()
    assert "结果已经带回" in me.get("/").words
    found = at.do(me, "/result")
    assert "2026年7月报税成功" in found.words
    proof = me.get("/clear")
    assert "2026-08-17 → 2026-09-15" in proof.words
    assert "R00000001" in proof.words
    (form,) = [f for f in proof.forms if f[""] == "/clear"]
    found = at.do(me, "/clear", nonce=form["nonce"], sure="yes")
    assert "2026年7月清卡成功" in found.words
    assert "新的锁死日期 2026-09-15" in found.words
    assert "清卡回执还没有带出" in me.get("/").words
    found = at.do(me, "/stick/sync")
    assert "放上 310100000000000_0_202608010000.ack" in found.words
    assert "打印交接单" in me.get("/stick").words
    assert "310100000000000_0_202608010000.ack" in me.get("/stick/slip").words
    history = me.get("/history").words
    assert "已清卡" in history
    assert "2026年9月15日" in me.get("/").words


def test_clearing_asks_once_and_for_this_very_copy(at: Counter) -> None:
    me = at.browser()
    month_until_success(at, me)
    nonce = at.open_copy().nonce
    assert me.post("/clear", nonce=nonce).status == 409
    assert "B5056" in me.page.text
    assert "B5205" in at.do(me, "/clear", nonce="0" * 32, sure="yes").text
    assert at.open_copy().success is not None, "nothing was cleared"
    assert "清卡成功" in at.do(me, "/clear", nonce=nonce, sure="yes").words
    again = at.do(me, "/clear", nonce=nonce, sure="yes")
    assert "没有待清卡的抄税" in again.words


def test_without_a_success_there_is_nothing_to_press(at: Counter) -> None:
    me = at.browser()
    assert "/clear" not in [form[""] for form in me.get("/clear").forms]
    assert "还不能清卡" in me.page.words
    assert "B5203" in at.do(me, "/clear", nonce="x", sure="yes").text


def test_a_failure_is_a_card_with_its_way_out(at: Counter) -> None:
    me = at.browser()
    at.plug_in()
    at.do(me, "/copy")
    at.do(me, "/report")
    at.answer(code="271D", message="未申报")
    found = at.do(me, "/result")
    for words in ("由谁处理 会计", "能否重发 可以", "271D", "怎么办 完成本期网上申报"):
        assert words in found.words, words
    home = me.get("/").words
    assert "报税失败，待处理" in home
    assert "在上网机 按下面的步骤改正" in home, "the file that is known stays on the stick and is no news"
    at.answer(2)
    assert "报税成功" in at.do(me, "/result").words


def test_a_copy_that_cannot_succeed_is_made_again(at: Counter) -> None:
    me = at.browser()
    at.plug_in()
    at.do(me, "/copy")
    at.do(me, "/report")
    at.answer(code="2715", message="发票明细与汇总比对不符")
    assert "重新抄税" in at.do(me, "/result").words
    page = me.get("/copy?again=1")
    assert "旧抄税将被取代" in page.words
    assert "抄税成功" in at.do(me, "/copy", again="1").words
    assert "已被取代" in me.get("/history").words


def test_a_y_is_named_and_never_clears(at: Counter) -> None:
    me = at.browser()
    at.do(me, "/copy")
    at.do(me, "/report")
    found = at.do(me, "/result/file", {"file": (at.open_copy().name.file_name(".txt"), b"Y")})
    assert "税局正在处理中（Y）" in found.words
    assert "不要重复上传" in found.words


def test_another_reports_result_is_refused_by_name(at: Counter) -> None:
    me = at.browser()
    at.plug_in()
    at.do(me, "/copy")
    at.do(me, "/report")
    path = at.answer(nonce="f" * 32)
    found = at.do(me, "/result/file", {"file": (path.name, path.read_bytes())})
    assert "B2207" in found.text
    assert "由谁处理" in found.words


def test_bad_lists_are_refused_row_by_row(at: Counter) -> None:
    me = at.browser()
    name, data = at.invoices()
    spoiled = data.decode("gb18030").replace("13%", "十三", 2).encode("gb18030")
    me.get("/invoices")
    found = at.do(me, "/invoices/import", {"files": (name, spoiled), "files#2": ("empty.xlsx", b"")})
    assert "2 个文件中有 2 个没有导入" in found.words
    assert "税率 不是税率：十三" in found.words
    assert "按上面指出的行改正清单" in found.words
    assert "共 0 张" in me.get("/invoices").words
    assert list((at.desk.home.page / "uploads").iterdir()) == []


def test_names_of_uploads_are_shown_and_never_paths(at: Counter) -> None:
    me = at.browser()
    _, data = at.invoices()
    found = at.do(me, "/invoices/import", {"files": ('../../<img src="x">?*.csv', data)})
    assert "导入 6 张发票" in found.words
    assert "<img src=" not in found.text
    assert not list(at.folder.rglob("<img*"))


def test_invoices_are_found_by_page_and_exported(at: Counter) -> None:
    me = at.browser()
    at.do(me, "/invoices/import", {"files": at.invoices(120)})
    page = me.get("/invoices?month=2026-07")
    assert "共 120 张" in page.words
    assert page.text.count("/invoices/one/") == 50
    following = page.text.split("after=")[1].split('"')[0]
    second = me.get(f"/invoices?month=2026-07&after={following}")
    assert second.text.count("/invoices/one/") == 50
    assert "第一页" in second.words
    assert "共 0 张" in me.get("/invoices?text=nobody").words
    assert "共 120 张" in me.get("/invoices?month=bad&kind=bad&status=bad").words
    one = second.text.split("/invoices/one/")[1].split('"')[0]
    assert "税率" in me.get(f"/invoices/one/{one}").words
    assert me.get("/invoices/one/unknown").status == 404 or "B5053" in me.page.text
    book = me.get("/invoices/export?month=2026-07&as=xlsx")
    assert book.headers["content-disposition"].endswith("310100000000000_0_2026-07.xlsx")
    assert len(list(load_workbook(io.BytesIO(book.body), read_only=True).worksheets[0].rows)) > 120
    assert me.get("/invoices/export?as=csv").text.startswith("\ufeff")
    assert [p.name for p in at.desk.home.page.iterdir() if p.is_dir() and p.name != "uploads"] == []


def test_a_backup_is_made_fetched_and_restored(at: Counter) -> None:
    me = at.browser()
    at.do(me, "/invoices/import", {"files": at.invoices()})
    assert "备份完成" in at.do(me, "/backup").words
    name = next(at.desk.home.backups.glob("*.zip")).name
    data = me.get(f"/backup/file/{name}").body
    assert "ledger.db" in zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert me.get("/backup/file/..%2Fcard.db").status in (404, 409)
    assert "恢复这个备份" in me.get(f"/restore/{name}").words
    assert "B5056" in at.do(me, "/restore", name=name).text, "it asks first"
    assert "已恢复" in at.do(me, "/restore", name=name, sure="yes").words
    elsewhere = at.do(me, "/restore", {"file": ("从别处.backup.zip", data)}, sure="yes")
    assert "已恢复" in elsewhere.words
    damaged = at.do(me, "/restore", {"file": ("坏.backup.zip", data[:-40])}, sure="yes")
    assert "数据没有改动" in damaged.words


def test_a_restore_says_which_lists_are_missing(at: Counter) -> None:
    me = at.browser()
    at.do(me, "/backup")
    name = next(at.desk.home.backups.glob("*.zip")).name
    at.do(me, "/invoices/import", {"files": at.invoices()})
    found = at.do(me, "/restore", name=name, sure="yes")
    assert "2026年7月的发票明细比卡上少" in found.words
    assert "重新导入这些月份" in me.get("/").words


def test_sticks_are_prepared_and_let_go(at: Counter) -> None:
    me = at.browser()
    assert "没有插U盘" in me.get("/stick").words
    assert "B5056" in at.do(me, "/stick/prepare", path="/etc", label="x").text, "only what is in can be named"
    assert not Path("/etc/TAXFERRY").exists()
    at.plug_in()
    assert "现在可以拔出" in me.get("/stick").words
    assert "可以拔出" in at.do(me, "/stick/eject", path=str(at.stick)).words


def test_a_stick_that_is_pulled_is_told_and_costs_nothing(at: Counter) -> None:
    me = at.browser()
    at.plug_in()
    at.do(me, "/copy")
    (at.stick / "TAXFERRY").rename(at.folder / "gone")
    found = at.do(me, "/report")
    assert "还没有放上U盘" in found.words
    assert "B3" in at.do(me, "/stick/sync").text
    assert "数据" in me.page.words
    (at.folder / "gone").rename(at.stick / "TAXFERRY")
    assert "放上 310100000000000_0_202608010000.dat" in at.do(me, "/stick/sync").words


def test_a_lost_stick_costs_no_second_report(at: Counter) -> None:
    me = at.browser()
    at.plug_in()
    at.do(me, "/copy")
    at.do(me, "/report")
    digest = at.open_copy().report_digest
    at.clock.moment += timedelta(days=2)
    me = at.browser()
    assert "不会重复报税" in me.get("/").words
    me.get(f"/history/{at.open_copy().nonce}")
    assert "已放上U盘" in at.do(me, "/report", again="1").words
    assert at.open_copy().report_digest == digest


def test_folders_are_changed_and_a_bad_one_is_refused(at: Counter) -> None:
    me = at.browser()
    new = at.folder / "传出 目录"
    assert "文件夹已改" in at.do(me, "/folders", outbox=str(new), inbox="").words
    assert new.is_dir()
    (at.folder / "file").touch()
    assert "B5001" in at.do(me, "/folders", outbox=str(at.folder / "file" / "x"), inbox="").text
    assert str(new) in me.get("/check").text


def test_the_check_the_log_and_the_help_answer(at: Counter) -> None:
    me = at.browser()
    assert "正常 金税卡" in me.get("/check").words
    assert "时间 time" in me.get("/log").text
    found = me.get("/help?q=271D").words
    assert "由谁处理" in found
    assert "重发" in found
    assert "没有找到“%s<b>”" in me.get("/help?q=%25s%3Cb%3E").words
    assert "全部故障" in me.get("/help").words
    assert "没有申报就报税" in me.get("/tour").words


def test_locked_is_the_biggest_fact(at: Counter) -> None:
    at.clock.moment = NOW.replace(day=18)
    words = at.browser().page.words
    assert "已锁死" in words
    assert "在办税服务厅" in words
    assert "已过 1 天" in words


def test_every_page_is_whole_in_english(office: Counter) -> None:
    me = office.browser(ADMIN, ADMIN_PASSWORD)
    month_until_success(office, me)
    me.get("/")
    me.post("/language", to="en", back="/")
    nonce = office.open_copy().nonce
    paths = [path for path in office.desk.site.pages if "{" not in path and path not in ("/log", "/invoices/export")]
    paths += [f"/history/{nonce}", f"/history/{nonce}/slip", "/copy?again=1", "/copy?adhoc=1", "/help?q=locked"]
    paths += [f"/progress/{work}" for work in office.desk.site.bench._known]
    for path in (*paths, "/nowhere", "/welcome?step=stick", "/welcome?step=folders"):
        shown = me.get(path)
        left = set(CJK.findall(shown.words)) - DATA
        names = {part for part in left if any(part in name for name in ("测试", *DATA))}
        left = {part for part in left - names if path != "/invoices"}
        assert not left, f"{path}: {left}"
        assert 'lang="en"' in shown.text


# People


def test_nobody_sees_anything_before_signing_in(office: Counter) -> None:
    me = office.browser()
    assert "登录" in me.page.words
    for path in office.desk.site.pages:
        if path in ("/help", "/tour"):
            continue
        shown = me.get(path.replace("{", "").replace("}", ""))
        assert "310100000000000" not in shown.text, path
    for path in office.desk.site.actions:
        if path in ("/language", "/sign-in", "/sign-out"):
            continue
        me.get("/sign-in")
        shown = me.post(path, sure="yes", name=ADMIN, password=ADMIN_PASSWORD)
        assert "310100000000000" not in shown.text, path
    assert office.last is None, "no work was begun"


def test_every_form_needs_its_token(office: Counter) -> None:
    me = office.browser(ADMIN, ADMIN_PASSWORD)
    for path in office.desk.site.actions:
        assert me.post(path, csrf="0" * 43, sure="yes").status == 403, path
    assert office.last is None


def test_a_wrong_password_does_not_let_in_and_guessing_waits(office: Counter) -> None:
    me = office.browser()
    before = me.cookie
    for _ in range(5):
        assert me.post("/sign-in", name=CLERK, password="guess").status == 403
    assert (
        "请 30 秒后再试" in me.post("/sign-in", name=CLERK, password=CLERK_PASSWORD).words
        or "秒后再试" in me.page.words
    )
    office.clock.moment += timedelta(seconds=31)
    assert me.post("/sign-in", name=CLERK, password=CLERK_PASSWORD).status == 200
    assert me.cookie != before, "a session gets a new key when somebody signs in"


def test_an_operator_does_the_month_and_only_who_may_clears(office: Counter) -> None:
    clerk = office.browser(CLERK, CLERK_PASSWORD)
    month_until_success(office, clerk)
    assert "没有清卡的权限" in clerk.get("/clear").words
    nonce = office.open_copy().nonce
    refused = clerk.post("/clear", nonce=nonce, sure="yes")
    assert "B5101" in refused.text
    for path in (
        "/operators/add",
        "/operators/remove",
        "/operators/rights",
        "/restore",
        "/folders",
        "/operators/password",
    ):
        clerk.get("/")
        assert "B5101" in clerk.post(path, name=ADMIN, sure="yes", password="x" * 9, again="x" * 9).text, path
    admin = office.browser(ADMIN, ADMIN_PASSWORD)
    admin.post("/operators/rights", name=CLERK, may_clear="yes")
    assert "清卡成功" in office.do(clerk, "/clear", nonce=nonce, sure="yes").words
    with Station.open(office.desk.home, office.clock, exclusive=False) as station:
        acted = [(e.facts.get("name"), e.facts.get("action")) for e in station.store.events() if e.event == "operator"]
    assert (CLERK, "clear") in acted


def test_administrator_and_operator_are_two_names(office: Counter) -> None:
    admin = office.browser(ADMIN, ADMIN_PASSWORD)
    for name, role in ((ADMIN, "operator"), (CLERK, "administrator")):
        found = admin.post("/operators/add", name=name, role=role, password="xyzzy-plugh", again="xyzzy-plugh")
        assert "不能同名" in found.words
    assert "不一样" in admin.post("/operators/add", name="新人", password="xyzzy-plugh", again="other-one").words
    assert (
        "已添加"
        in admin.post("/operators/add", name="新人", role="operator", password="xyzzy-plugh", again="xyzzy-plugh").words
    )
    assert "至少要留一名管理员" in admin.post("/operators/remove", name=ADMIN).words


def test_who_is_removed_is_out_at_once(office: Counter) -> None:
    clerk, admin = office.browser(CLERK, CLERK_PASSWORD), office.browser(ADMIN, ADMIN_PASSWORD)
    admin.post("/operators/remove", name=CLERK)
    assert "登录" in clerk.get("/").words
    assert "310100000000000" not in clerk.page.text


def test_a_password_is_changed_by_its_owner_or_an_administrator(office: Counter) -> None:
    clerk, admin = office.browser(CLERK, CLERK_PASSWORD), office.browser(ADMIN, ADMIN_PASSWORD)
    clerk.get("/operators")
    assert (
        "姓名或密码不对"
        in clerk.post("/operators/password", old="no", password="new-and-good", again="new-and-good").words
    )
    assert (
        "密码已改"
        in clerk.post("/operators/password", old=CLERK_PASSWORD, password="new-and-good", again="new-and-good").words
    )
    assert (
        "密码已改" in admin.post("/operators/password", name=CLERK, password="newer-still", again="newer-still").words
    )
    assert "登录" in clerk.get("/").words, "with the old password's window nobody goes on"
    assert office.browser(CLERK, "newer-still").get("/").status == 200


def test_signing_out_ends_it(office: Counter) -> None:
    me = office.browser(CLERK, CLERK_PASSWORD)
    old = me.cookie
    me.post("/sign-out")
    assert "登录" in me.page.words
    me.cookie = old
    assert me.request("GET", "/").status == 403


def test_who_walks_away_has_to_sign_in_again(office: Counter) -> None:
    me = office.browser(CLERK, CLERK_PASSWORD)
    office.clock.moment += timedelta(hours=2, minutes=1)
    assert "登录" in me.get("/").words


def test_two_operators_at_once_do_one_thing(office: Counter) -> None:
    one, two = office.browser(CLERK, CLERK_PASSWORD), office.browser(ADMIN, ADMIN_PASSWORD)
    go, begun = threading.Event(), threading.Event()

    def slow(_progress):
        begun.set()
        go.wait(30)

    office.desk.site.bench.start("copy", office.desk.site.title, CLERK, slow)
    assert begun.wait(30)
    found = two.post("/copy")
    assert "B5051" in found.text
    assert CLERK in found.words
    assert "正在工作，请不要拔出U盘" in two.get("/").words
    assert "http-equiv" in two.page.text, "without JavaScript the page looks again by itself"
    go.set()
    assert office.last is not None
    office.last.wait(30)
    results: list[str] = []
    two.get("/")
    threads = [
        threading.Thread(target=lambda who=who: results.append(office.do(who, "/copy").text)) for who in (one, two)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Station.open(office.desk.home, office.clock, exclusive=False) as station:
        assert len(list(station.copies())) == 1
    assert sum("抄税成功" in text for text in results) >= 1


def test_another_program_at_work_is_waited_for(at: Counter) -> None:
    me = at.browser()
    holder = Station.open(at.desk.home, at.clock)
    done: list[str] = []
    thread = threading.Thread(target=lambda: done.append(at.do(me, "/copy").words))
    thread.start()
    work = None
    while work is None:
        work = at.desk.site.bench.running
    holder.close()
    thread.join()
    assert "抄税成功" in done[0]


# The first run


def test_the_first_run_leads_from_the_card_to_the_first_page(tmp_path: Path) -> None:
    card = tmp_path / "金税 卡.taxcard"
    write_taxcard(card, taxcard())
    with counter(tmp_path) as at:
        me = at.browser()
        assert "装入金税卡" in me.page.words
        for path in ("/", "/history", "/check", "/operators"):
            assert "装入金税卡" in me.get(path).words
        assert "B5056" in me.post("/welcome/card").text
        me.get("/welcome")
        assert "B50" in me.post("/welcome/card", path=str(tmp_path / "none.taxcard")).text
        me.get("/welcome")
        (tmp_path / "bad.taxcard").write_bytes(b"{}")
        assert "B5012" in me.post("/welcome/card", path=str(tmp_path / "bad.taxcard")).text
        me.get("/welcome")
        assert "管理员和操作员" in me.post("/welcome/card", path=str(card)).words
        assert not card.exists(), "there is only one card"
        fields = {"admin_name": ADMIN, "admin_password": ADMIN_PASSWORD, "admin_again": ADMIN_PASSWORD}
        same = me.post(
            "/welcome/people", **fields, operator_name=ADMIN, operator_password="x" * 9, operator_again="x" * 9
        )
        assert "B5054" in same.text
        assert "文件夹" in me.get("/welcome?step=folders").words
        me.post("/operators/add", name=CLERK, role="operator", password=CLERK_PASSWORD, again=CLERK_PASSWORD)
        outbox = tmp_path / "传出"
        me.get("/welcome?step=folders")
        assert "第一个U盘" in me.post("/welcome/folders", outbox=str(outbox), inbox="").words
        assert outbox.is_dir()
        assert "2026年8月17日" in me.get("/").words
        assert "登录" in at.browser().page.words


def test_a_single_user_may_go_on_without_operators(at: Counter) -> None:
    me = at.browser()
    assert "还没有设置操作员" in me.page.words
    assert "2026年8月17日" in me.page.words

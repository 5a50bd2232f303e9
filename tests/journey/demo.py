"""The whole round trip on one machine, with real files: what `make demo` runs.

A bureau, two invoicing PCs of one taxpayer (the main machine 0 and sub machine 1), one Internet PC and a folder that
stands for the stick. Every command below is a process of its own, just as it would be typed; what it prints is what
an operator sees. Everything stays in the folder that is named at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from shared.ids import month_end
from shared.text import Text, detect_language, set_language
from tests.support import workbooks

MARKER = ".taxferry-demo"
TAXPAYER = "91310000MA1FL0TF46"
NAME = "上海示例制造有限公司"
PROCESSING_SECONDS = 2.0
PATIENCE_SECONDS = 40.0

# Who types a command, for the reader; the folder of each is named in Chinese in both languages.
PLACES = {
    "税局": Text("税局", "bureau"),
    "开票机0": Text("开票机0", "invoicing PC 0"),
    "开票机1": Text("开票机1", "invoicing PC 1"),
    "上网机": Text("上网机", "Internet PC"),
}


# Who has a page, and which program serves it.
PAGES = {"开票机0": "offline-station", "开票机1": "offline-station", "上网机": "online-station"}


def _has_no_screen() -> bool:
    """Return whether a browser has nowhere to open: the printed address serves then."""
    return os.name == "posix" and sys.platform != "darwin" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)


class DemoFailed(Exception):
    """A step did not do what the demonstration promises."""


@dataclass
class Stage:
    """The folders of the demonstration, and how its programs are called.

    Attributes:
        root: The folder of everything.
        language: What the programs are asked to speak.
        cleared: Machines whose card was cleared, as their stations said.
        pace: Seconds that the slowest command took so far: how fast this computer is now.
        pages: Whether the pages of the PCs are open beside the commands.
        ending: Closes them.
    """

    root: Path
    language: str
    quiet: bool = False
    cleared: set[int] = field(default_factory=set)
    pace: float = 0.0
    pages: bool = False
    ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def stick(self) -> Path:
        return self.root / "U盘"

    def home(self, name: str) -> Path:
        return self.root / name

    def say(self, text: Text) -> None:
        if not self.quiet:
            print(f"\n\N{BLACK DIAMOND} {text}", flush=True)

    def _command(self, program: str, home: Path, arguments: Sequence[object]) -> list[str]:
        module = program.replace("-", "_")
        return [sys.executable, "-m", module, "--home", str(home), "--lang", self.language, *map(str, arguments)]

    def run(self, program: str, home: str, *arguments: object, expect: int = 0) -> str:
        """Run one verb as an operator would, show it with what it prints, and insist on its exit code."""
        shown = " ".join(a if a.isascii() and " " not in a else f"'{a}'" for a in map(self._short, arguments))
        if not self.quiet:
            print(f"  [{PLACES[home]}] $ {program} {shown}", flush=True)
        started = time.monotonic()
        done = subprocess.run(
            self._command(program, self.home(home), arguments),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
        self.pace = max(self.pace, time.monotonic() - started)
        if not self.quiet:
            for line in (done.stdout + done.stderr).splitlines():
                print(f"      {line}", flush=True)
        if done.returncode != expect:
            raise DemoFailed(
                f"{program} {shown}: exit {done.returncode}, expected {expect}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def ask(self, program: str, home: str, *arguments: object) -> dict[str, Any]:
        """Run one verb with `--json` and return its data."""
        done = subprocess.run(
            [*self._command(program, self.home(home), arguments), "--json"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
        data: dict[str, Any] = json.loads(done.stdout)["data"]
        return data

    def _short(self, argument: object) -> str:
        return str(argument).replace(str(self.root) + os.sep, "")

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Run the bureau as a process of its own; give its URL."""
        # The bureau must still be at work when the next command asks, also on a slow or busy computer.
        seconds = max(PROCESSING_SECONDS, 3 * self.pace)
        command = self._command(
            "tax-bureau", self.home("税局"), ["serve", "--port", 0, "--processing-seconds", f"{seconds:.1f}", "--json"]
        )
        with (
            (self.root / "税局" / "serve.log").open("w") as log,
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            ) as process,
        ):
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    raise DemoFailed("the bureau did not start: see 税局/serve.log")
                yield json.loads(line)["url"]
            finally:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()

    def open_page(self, home: str) -> str:
        """Serve the page of a PC until the end, open a browser on it, and return its address; nothing without pages."""
        program = PAGES[home]
        if not self.pages or importlib.util.find_spec(f"{program.replace('-', '_')}.web") is None:
            return ""
        log = self.ending.enter_context((self.root / f"{home} 页面.log").open("w"))
        command = self._command(program, self.home(home), ["serve", "--no-browser", "--json"])
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8")
        self.ending.callback(self._close, process)
        assert process.stdout is not None
        try:
            url = str(json.loads(process.stdout.readline())["url"])
        except (ValueError, KeyError):
            raise DemoFailed(f"the page of {home} did not open: see {home} 页面.log") from None
        print(f"  [{PLACES[home]}] {Text('页面', 'page')} {url}", flush=True)
        if sys.stdin.isatty() and not _has_no_screen():
            webbrowser.open(url)
        return url

    @staticmethod
    def _close(process: subprocess.Popen[str]) -> None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def pause(self, text: Text) -> None:
        """Let a person look at the pages until they press Enter; without anybody there, go on."""
        if self.pages:
            print(f"\n  {text}", flush=True)
            sys.stdin.readline()

    def reports(self) -> dict[int, dict[str, Any]]:
        """Return what the Internet PC says of each machine's report."""
        return {item["machine_no"]: item for item in self.ask("online-station", "上网机", "list")["items"]}

    def wait_for(self, state: str, *machines: int) -> None:
        """Ask the bureau now and then, as an operator would press 报税结果, until the machines' reports are in `state`."""
        last = time.monotonic() + max(PATIENCE_SECONDS, 40 * self.pace)
        seen: dict[int, str] = {}
        while any(seen.get(machine) != state for machine in machines):
            if time.monotonic() > last:
                raise DemoFailed(f"the reports are {seen}, expected {state}")
            if seen:
                time.sleep(0.3)
            answers = self.ask("online-station", "上网机", "results")["items"]
            seen |= {item["machine_no"]: item["state"] for item in answers}


def last_month(today: date) -> date:
    """Return the first day of the month before `today`'s."""
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def write_invoice_lists(folder: Path, month: date) -> tuple[list[Path], list[Path]]:
    """Write made-up sales of a month in the shapes that real software exports; return the files of either machine."""
    chance = random.Random(f"{month}")
    last = month_end(month)
    seller = (NAME, TAXPAYER)

    def sales(count: int, code: str, first: int) -> list[workbooks.Sale]:
        return workbooks.made_up_sales(chance, count, first_day=month, last_day=last, code=code, first_number=first)

    special, ordinary, digital = sales(24, "3100193130", 4711), sales(31, "3100193320", 90001), sales(12, "", 1)
    sub_special, sub_ordinary, sub_xml = (
        sales(9, "3100193130", 8801),
        sales(40, "3100193320", 95001),
        sales(7, "3100193130", 8901),
    )
    main_files = [
        workbooks.official_xls(folder / "主机 专用发票.xls", "专用发票", special, (month, last)),
        workbooks.golden_tax_xlsx(folder / "主机 普通发票（金税盘）.xlsx", [("普通发票", ordinary)], (month, last)),
        workbooks.full_query_xlsx(folder / "主机 全量发票查询.xlsx", digital, seller=seller),
    ]
    sub_files = [
        workbooks.sjjk0201(folder / "分机 SJJK0201.txt", sub_special, kind="0", seller=seller),
        workbooks.csv_list(folder / "分机 普通发票.csv", sub_ordinary, seller=seller),
        workbooks.kp_xml(folder / "分机 Kp.xml", sub_xml, "增值税专用发票", seller=seller),
    ]
    return main_files, sub_files


def prepare(root: Path) -> None:
    """Make an empty folder for the demonstration; refuse to touch one that is not a demonstration's."""
    if root.exists():
        if not (root / MARKER).exists() and any(root.iterdir()):
            raise DemoFailed(
                str(Text(f"{root} 不是演示文件夹，没有动它", f"{root} is no demonstration folder; it was left alone"))
            )
        shutil.rmtree(root)
    root.mkdir(parents=True)
    (root / MARKER).touch()


def play(stage: Stage, today: date) -> None:
    """Play the month from the cards' issue to the clear receipts."""
    root, month = stage.root, last_month(today)
    period = f"{month:%Y-%m}"
    files = root / "发票清单"
    files.mkdir()
    print(
        Text(
            f"税渡演示：{NAME}报 {period} 的税。主机、分机两台开票机不联网，只有U盘来往于它们和上网机之间。\n"
            f"每条命令都是独立的进程：[在哪台电脑] $ 命令，下面缩进的是它的输出（省去了 --home）。",
            f"The taxferry demonstration: {NAME} reports {period}. Two invoicing PCs, the main machine and a sub machine, "
            "have no network;\nonly the stick goes between them and the Internet PC. Every command is a process of its own: "
            "[where] $ command,\nand below it, indented, what it says (--home is left out). The folders are named 税局 "
            "(bureau), 开票机0 and 开票机1\n(invoicing PCs), 上网机 (Internet PC) and U盘 (stick).",
        ),
        flush=True,
    )

    stage.say(
        Text(
            "税局：建立证书，发行两张金税卡和企业密钥（U棒），开户",
            "Bureau: certificates, two tax cards, the enterprise key, enrolment",
        )
    )
    pin = root / "口令.txt"
    pin.write_text("135790\n", encoding="utf-8")
    bureau: Callable[..., str] = lambda *a, **k: stage.run("tax-bureau", "税局", *a, **k)  # noqa: E731
    bureau("init", "--trust-out", root / "root.pem")
    common = ["--taxpayer-id", TAXPAYER, "--name", NAME]
    bureau(
        "issue-card", *common, "--machine-no", 0, "--sub-machines", 1, "--key-type", "rsa", "--out", root / "0.taxcard"
    )
    bureau("issue-card", *common, "--machine-no", 1, "--key-type", "p256", "--out", root / "1.taxcard")
    bureau("issue-key", "--taxpayer-id", TAXPAYER, "--out", root / "key.p12", "--pin-file", pin)
    bureau("enroll", "--taxpayer-id", TAXPAYER, "--key", root / "key.p12", "--pin-file", pin)

    stage.say(
        Text(
            "开票机：插卡，导入开票软件导出的发票清单",
            "Invoicing PCs: take the cards, import what the invoicing software exports",
        )
    )
    for machine in (0, 1):
        stage.run("offline-station", f"开票机{machine}", "init", "--card", root / f"{machine}.taxcard")
        stage.open_page(f"开票机{machine}")
    main_files, sub_files = write_invoice_lists(files, month)
    stage.run("offline-station", "开票机0", "invoices", "import", *main_files)
    stage.run("offline-station", "开票机1", "invoices", "import", *sub_files)

    stage.say(Text("开票机 0（主机）：抄税 → 报税状态 → 远程报税", "Invoicing PC 0 (main): copy → status → report"))
    for verb in ("copy", "status", "report"):
        stage.run("offline-station", "开票机0", verb)

    stage.say(Text("把报税文件用U盘带到上网机", "Carry the report to the Internet PC on the stick"))
    stage.stick.mkdir(exist_ok=True)  # a real one may be mounted there
    stage.run("offline-station", "开票机0", "stick", "prepare", stage.stick)
    stage.run("offline-station", "开票机0", "stick", "sync", stage.stick)

    with stage.serving() as url:
        online: Callable[..., str] = lambda *a, **k: stage.run("online-station", "上网机", *a, **k)  # noqa: E731
        online("init", "--bureau", url, "--key", root / "key.p12", "--pin-file", pin, "--trust", root / "root.pem")
        stage.open_page("上网机")
        stage.pause(
            Text(
                "页面都打开了，把窗口并排放好；按回车继续，看页面跟着变",
                "the pages are open: put the windows side by side, press Enter, and see them change",
            )
        )
        online("stick", "sync", stage.stick)
        stage.say(
            Text(
                "上网机：先核对，尚未申报，暂不上传", "Internet PC: proven; nothing was declared, so the report is held"
            )
        )
        online("once")
        first = stage.reports()[0]
        insist(first["state"] == "held", "the undeclared report is held")
        stem = str(first["stem"])

        stage.say(
            Text("操作员决定先发送；查询得太早，得到 Y", "The operator sends it anyway; asking too early gives Y")
        )
        online("release", stem)
        online("once")
        online("results", expect=43)
        insist(not list((stage.home("上网机") / "outbox").glob("*.txt")), "a Y is never staged")

        stage.say(
            Text(
                "税局答复 271D：未申报。完成申报后，同一文件再传一次",
                "The bureau answers 271D. After the declaration, the same bytes go again",
            )
        )
        stage.wait_for("failed", 0)
        online("show", stem)
        bureau("declare", "--taxpayer-id", TAXPAYER, "--period", period, "--matching")
        online("retry", stem)
        online("once")

        stage.say(
            Text("主机先到：272C，等待分机报税", "The main machine came first: 272C, it waits for the sub machine")
        )
        stage.wait_for("waiting", 0)
        online("list")

        stage.say(
            Text(
                "开票机 1（分机）：抄税、报税，U盘再走一趟",
                "Invoicing PC 1 (sub): copy, report, a second walk with the stick",
            )
        )
        for verb in ("copy", "report"):
            stage.run("offline-station", "开票机1", verb)
        stage.run("offline-station", "开票机1", "stick", "sync", stage.stick)
        online("stick", "sync", stage.stick)
        online("once")

        stage.say(Text("最后一台报税成功，两台的结果都取回", "The last machine succeeds, and both results come back"))
        stage.wait_for("staged", 1, 0)
        online("list")
        online("stick", "sync", stage.stick)

        stage.say(Text("把结果带回；先试一次拿错文件", "Carry the results back; first, the wrong file on purpose"))
        results = {
            machine: next((stage.home("上网机") / "outbox").glob(f"{TAXPAYER}_{machine}_*.txt")) for machine in (0, 1)
        }
        stage.run("offline-station", "开票机0", "result", results[1], expect=22)
        insist(stage.ask("offline-station", "开票机0", "status")["state"] == "copied", "a wrong result changes nothing")

        stage.say(Text("报税结果 → 清卡，两台都做", "Result → clear, on both machines"))
        for machine in (0, 1):
            home = f"开票机{machine}"
            stage.run("offline-station", home, "stick", "sync", stage.stick)
            stage.run("offline-station", home, "result")
            stage.run("offline-station", home, "clear")
            if stage.ask("offline-station", home, "status")["state"] == "done":
                stage.cleared.add(machine)
            stage.run("offline-station", home, "stick", "sync", stage.stick)

        stage.say(Text("清卡回执带出，税局结案", "The clear receipts go out, and the bureau closes the reports"))
        online("stick", "sync", stage.stick)
        online("once")
        closed = stage.reports()
        insist(all(closed[machine]["state"] == "acknowledged" for machine in (0, 1)), "both reports are closed")
        online("show", stem)
    stage.run("offline-station", "开票机0", "history")
    stage.pause(Text("页面还开着，可以随便看；按回车结束", "the pages are still open: look around; press Enter to end"))


def insist(condition: bool, what: str) -> None:
    """Stop the demonstration if something that it shows is not so."""
    if not condition:
        raise DemoFailed(what)


def guide(root: Path) -> Text:
    """Return the short guide to what lies where, with commands that work as printed."""
    programs = Path(sys.executable).parent
    report = next((root / "开票机0" / "outbox").glob("*.dat")).relative_to(root)
    commands = f"""  cd "{root}"
  "{programs / "offline-station"}" verify {report} --trust root.pem
  "{programs / "offline-station"}" --home 开票机0 status
  "{programs / "online-station"}" --home 上网机 show {report.stem}
  "{programs / "tax-bureau"}" --home 税局 list
"""
    return Text(
        f"""这里是税渡演示留下的全部文件。

发票清单/        开票软件导出样式的发票清单（虚构数据）
开票机0/ 开票机1/  两台开票机：card.db 金税卡，ledger.db 发票，outbox/ 报税文件和清卡回执，results/ 卡看过的结果，
                backups/ 清卡前的备份
U盘/             代替U盘的文件夹：TAXFERRY/to-online（.dat、.ack）、to-offline（.txt），办完的七天后移走；
                transfer-log.csv 交接记录
上网机/           上网机：spool/ 收到的报税文件和清卡回执，outbox/ 取回的结果（.txt 可用记事本打开），
                results/ 税局答复过的每一份结果和受理回执
税局/            参考税局：keys/ 证书和密钥，spool/reports/ 收到的报告
root.pem        税局根证书；key.p12 与 口令.txt 是企业密钥（U棒）

可以自己试：
{commands}""",
        f"""Everything that the taxferry demonstration left behind.

发票清单/        invoice lists in the shapes that invoicing software exports (made-up data)
开票机0/ 开票机1/  the two invoicing PCs: card.db the tax card, ledger.db invoices, outbox/ report and clear receipt,
                results/ what the card was shown, backups/ made before the clear
U盘/             the folder that stands for the stick: TAXFERRY/to-online (.dat, .ack), to-offline (.txt), where what is
                done with stays for seven days; transfer-log.csv tells what went over it
上网机/           the Internet PC: spool/ reports and clear receipts that came, outbox/ results (.txt opens in any
                editor), results/ every answer and receipt of the bureau
税局/            the reference bureau: keys/ certificates and keys, spool/reports/ what it received
root.pem        the bureau's root certificate; key.p12 and 口令.txt are the enterprise key

Try:
{commands}""",
    )


def stop(_signal: int, _frame: object) -> None:
    """End as after Ctrl-C, so that no process of the demonstration is left behind."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return 0 only if every card was cleared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument("--lang", choices=("zh", "en"), default=detect_language())
    parser.add_argument("--pages", action="store_true", help="open the pages of the PCs beside the commands")
    options = parser.parse_args(argv)
    set_language(options.lang)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    started = time.monotonic()
    stage = Stage(options.folder.resolve(), options.lang, pages=options.pages)
    failure = ""
    interrupted = False
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    try:
        prepare(stage.root)
        with stage.ending:
            play(stage, date.today())  # noqa: DTZ011  the machine's own day is what the stations use
        (stage.root / "说明 README.txt").write_text(str(guide(stage.root)), encoding="utf-8")
    except (DemoFailed, subprocess.TimeoutExpired) as error:
        failure = str(error)
    except KeyboardInterrupt:
        interrupted = True
        failure = str(
            Text(
                f"被停止；各程序都已结束，做到一半的文件在 {stage.root}",
                f"it was interrupted; its programs have ended, and what was done is in {stage.root}",
            )
        )
    seconds = time.monotonic() - started
    print()
    if failure:
        print(Text(f"演示中断：{failure}", f"the demonstration stopped: {failure}"))
    else:
        print(
            Text(
                f"用时 {seconds:.0f} 秒；文件都在 {stage.root}，先看“说明 README.txt”",
                f"{seconds:.0f} seconds; everything is in {stage.root}; begin with '说明 README.txt'",
            )
        )
    if stage.cleared == {0, 1} and not failure:
        print(Text("结论：两张卡全部清卡成功。", "Verdict: every card was cleared (2 of 2)."))
        return 0
    print(
        Text(
            f"结论：未全部清卡（{len(stage.cleared)}/2）。",
            f"Verdict: NOT every card was cleared ({len(stage.cleared)} of 2).",
        )
    )
    return 130 if interrupted else 1


if __name__ == "__main__":
    sys.exit(main())

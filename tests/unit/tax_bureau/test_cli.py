"""The verbs of `tax-bureau`: their exact forms, what they leave on disk, and that each may be run again."""

from __future__ import annotations

import json
import stat
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.clock import CHINA, SystemClock
from shared.durable import write_durably
from shared.errors import ConfigurationError
from shared.ids import parse_stamp
from shared.keys.file import load_key_file
from shared.keys.secret import Secret
from shared.model.taxcard import read_taxcard, write_taxcard
from shared.model.trust import open_issued_trust
from tax_bureau import figures
from tax_bureau.cli import program
from tax_bureau.home import open_bureau
from tax_bureau.issue import certificate_pem
from tax_bureau.judge.facts import Figures
from tax_bureau.store import Transaction
from tests.support.bureau import PIN, Office
from tests.support.pki import OTHER_TAXPAYER, TAXPAYER

OWNER_ONLY = 0o600


class Run:
    """Runs verbs in one home."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.home = root / "税局 一"
        self._capsys = capsys
        (root / "口令.txt").write_text("135790\n", encoding="utf-8")

    def __call__(self, *arguments: object, expect: int = 0) -> dict[str, Any]:
        """Run a verb with `--json`; return its data, or its first error."""
        status = program.run(["--home", str(self.home), *map(str, arguments), "--json"])
        found = json.loads(self._capsys.readouterr().out)
        assert status == expect, found
        if status > 1:
            error: dict[str, Any] = found["errors"][0]
            return error
        data: dict[str, Any] = found["data"]
        return data

    def words(self, *arguments: object) -> str:
        program.run(["--home", str(self.home), *map(str, arguments)])
        return self._capsys.readouterr().out


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path, capsys)


@pytest.fixture
def made(run: Run, tmp_path: Path) -> Run:
    """Return a home that holds a bureau."""
    office = Office(tmp_path / "office", real_time=True)
    office.bureau.store.close()
    (office.root / "home").rename(run.home)
    for file in (*office.root.glob("*.taxcard"), *office.root.glob("*.p12")):
        file.rename(run.root / file.name)
    return run


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def card_arguments(run: Run, name: str, machine: int = 0, **options: object) -> list[object]:
    given = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
    out = run.root / f"{name}.taxcard"
    return [
        *("issue-card", "--taxpayer-id", OTHER_TAXPAYER, "--name", "某某公司"),
        *("--machine-no", machine, *given, "--key-type", "p256", "--out", out),
    ]


def test_init_makes_owner_only_keys_and_a_root_for_everyone(run: Run) -> None:
    root = run.root / "根 root.pem"
    data = run("init", "--trust-out", root, "--key-type", "p256", "--gateway", "https://bureau.example/gw")
    assert data["created"] is True
    assert root.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert {mode(file) for file in (run.home / "keys").iterdir()} == {OWNER_ONLY}
    assert mode(run.home / "bureau.db") == OWNER_ONLY
    before = root.read_bytes()
    root.unlink()
    assert run("init", "--trust-out", root)["created"] is False
    assert root.read_bytes() == before


def test_interrupted_init_is_begun_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def failing(path: Path, data: bytes, *, mode: int = OWNER_ONLY) -> None:
        written.append(path)
        if len(written) == 5:
            raise OSError(28, "No space left on device", str(path))
        write_durably(path, data, mode=mode)

    monkeypatch.setattr("tax_bureau.keyring.write_durably", failing)
    run("init", "--key-type", "p256", expect=33)
    run("list", expect=50)
    monkeypatch.undo()
    assert run("init", "--key-type", "p256")["created"] is True


def test_verbs_without_a_bureau_say_so(run: Run) -> None:
    for arguments in (
        ["list"],
        ["show", "abcd"],
        ["serve"],
        ["declare", "--taxpayer-id", TAXPAYER, "--period", "2026-07"],
    ):
        assert run(*arguments, expect=50)["code"] == "B5003"
    assert not run.home.exists()


def test_issued_card_is_whole_and_for_its_owner_only(made: Run) -> None:
    limits = ["--offline-limit", "004=500.00", "--offline-limit", "026=0.00", "--stock", "004=25"]
    data = made(*card_arguments(made, "卡 0", sub_machines=2, offline_hours=48), *limits)
    path = made.root / "卡 0.taxcard"
    assert mode(path) == OWNER_ONLY
    card = read_taxcard(path)
    assert (card.card_no, card.sub_machines, card.offline_hours) == (data["card_no"], 2, 48)
    assert (card.offline_limits, card.stock) == ({"004": 50000, "026": 0}, {"004": 25})
    today = SystemClock().now().astimezone(CHINA).date()
    assert today <= card.lock_date
    assert (card.lock_date.year, card.lock_date.month) == (today.year, today.month)
    first_of_last_month = date(today.year - (today.month == 1), (today.month - 2) % 12 + 1, 1)
    assert card.last_copied == first_of_last_month - timedelta(days=1)
    trust = open_issued_trust(card.trust.encode(), at=SystemClock().now())
    assert trust.version == 1


def test_days_of_a_card_can_be_given(made: Run) -> None:
    data = made(*card_arguments(made, "given", last_copied="2026-07-01", lock_date="2030-01-15"))
    assert (data["last_copied"], data["lock_date"]) == ("2026-07-01", "2030-01-15")


def test_issuing_a_card_again_changes_nothing(made: Run) -> None:
    first = made(*card_arguments(made, "same"))
    before = (made.root / "same.taxcard").read_bytes()
    again = made(*card_arguments(made, "same"))
    assert (again["card_no"], again["new"]) == (first["card_no"], False)
    assert (made.root / "same.taxcard").read_bytes() == before


def test_second_card_for_a_machine_must_be_asked_for(made: Run) -> None:
    first = made(*card_arguments(made, "first"))
    assert made(*card_arguments(made, "second"), expect=52)["code"] == "B5201"
    assert not (made.root / "second.taxcard").exists()
    second = made(*card_arguments(made, "second"), "--reissue")
    assert second["card_no"] != first["card_no"]


def test_card_whose_issue_was_interrupted_is_finished_with_the_same_file(
    made: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Transaction, "add_card", cut)
    made(*card_arguments(made, "cut"), expect=35)
    monkeypatch.undo()
    card = read_taxcard(made.root / "cut.taxcard")
    assert made(*card_arguments(made, "cut"))["card_no"] == card.card_no
    bureau = open_bureau(made.home, SystemClock())
    with closing(bureau.store), bureau.store.read() as tx:
        assert tx.card(card.card_no) is not None


def test_files_of_others_are_never_overwritten(made: Run) -> None:
    made(*card_arguments(made, "first"))
    (made.root / "notes.taxcard").write_text("notes")
    assert made(*card_arguments(made, "notes"), expect=50)["code"] == "B5014"
    assert made(*card_arguments(made, "first", 1), expect=50)["code"] == "B5014"
    (made.root / "notes.p12").write_text("notes")
    key = ["issue-key", "--taxpayer-id", TAXPAYER, "--pin-file", made.root / "口令.txt", "--out"]
    assert made(*key, made.root / "notes.p12", expect=50)["code"] == "B5014"
    assert made(*key, made.root / f"{OTHER_TAXPAYER}.p12", expect=50)["code"] == "B5014"


def test_foreign_card_file_is_not_taken_into_the_register(made: Run, tmp_path: Path) -> None:
    other = Office(tmp_path / "other")
    path = made.root / "foreign.taxcard"
    card = other.taxcard().model_copy(update={"taxpayer_id": OTHER_TAXPAYER})
    write_taxcard(path, card)
    assert made(*card_arguments(made, "foreign"), expect=50)["code"] == "B5014"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sub-machines", "1", "--machine-no", "1"],
        ["--machine-no", "65536"],
        ["--machine-no", "01"],
        ["--machine-no", "0", "--lock-date", "2026-13-01"],
        ["--machine-no", "0", "--last-copied", "yesterday"],
        ["--machine-no", "0", "--offline-limit", "004"],
        ["--machine-no", "0", "--offline-limit", "999=1.00"],
        ["--machine-no", "0", "--offline-limit", "004=-1.00"],
        ["--machine-no", "0", "--offline-limit", "004=1"],
        ["--machine-no", "0", "--stock", "004=many"],
        ["--machine-no", "0", "--key-type", "dsa"],
    ],
    ids=" ".join,
)
def test_wrong_card_orders_are_usage_errors(made: Run, arguments: list[str]) -> None:
    base = ["issue-card", "--taxpayer-id", TAXPAYER, "--name", "某某", "--out", made.root / "x.taxcard"]
    made(*base, *arguments, expect=2)
    assert not (made.root / "x.taxcard").exists()


def test_more_sub_machines_than_the_main_card_knows_is_a_warning(made: Run) -> None:
    made(*card_arguments(made, "main"))
    data = made(*card_arguments(made, "sub", 1), expect=1)
    assert "--sub-machines" in data["warnings"][0]


def test_wrong_check_character_is_a_warning(made: Run) -> None:
    made("delegate", "--taxpayer-id", TAXPAYER, "--agency", OTHER_TAXPAYER)
    wrong = OTHER_TAXPAYER[:-1] + "A"
    assert made("declare", "--taxpayer-id", wrong, "--period", "2026-07", expect=1)["warnings"]


def test_key_file_opens_with_the_pin_and_is_issued_once(made: Run) -> None:
    out = made.root / "U棒.p12"
    arguments = ["issue-key", "--taxpayer-id", TAXPAYER, "--pin-file", made.root / "口令.txt", "--out", out]
    first = made(*arguments, "--key-type", "p256")
    assert mode(out) == OWNER_ONLY
    assert load_key_file(out, PIN).certificate is not None
    assert made(*arguments)["fingerprint"] == first["fingerprint"]
    with pytest.raises(ConfigurationError):
        load_key_file(out, Secret("000000"))


def test_missing_pin_file_is_named(made: Run) -> None:
    out = made.root / "k.p12"
    error = made("issue-key", "--taxpayer-id", TAXPAYER, "--pin-file", made.root / "none", "--out", out, expect=50)
    assert error["code"] == "B5002"
    assert not out.exists()


def test_enrolment_by_key_or_by_certificate_and_back(made: Run) -> None:
    key = made.root / f"{TAXPAYER}.p12"
    by_key = ["enroll", "--taxpayer-id", TAXPAYER, "--key", key, "--pin-file", made.root / "口令.txt"]
    found = made(*by_key)["fingerprint"]
    pem = made.root / "cert.pem"
    pem.write_text(certificate_pem(load_key_file(key, PIN).certificate))
    by_certificate = ["enroll", "--taxpayer-id", TAXPAYER, "--certificate", pem]
    assert made(*by_certificate)["fingerprint"] == found
    assert made(*by_certificate, "--withdraw")["enrolled"] is False
    bureau = open_bureau(made.home, SystemClock())
    with closing(bureau.store), bureau.store.read() as tx:
        assert tx.enrolled_keys(TAXPAYER) == ()


def test_wrong_enrolments_are_refused(made: Run) -> None:
    key, pin = made.root / f"{OTHER_TAXPAYER}.p12", made.root / "口令.txt"
    made("enroll", "--taxpayer-id", TAXPAYER, expect=2)
    made("enroll", "--taxpayer-id", TAXPAYER, "--key", key, expect=2)
    made("enroll", "--taxpayer-id", TAXPAYER, "--key", key, "--pin-file", pin, "--certificate", key, expect=2)
    made("enroll", "--taxpayer-id", TAXPAYER, "--key", key, "--pin-file", pin, expect=50)
    made("enroll", "--taxpayer-id", TAXPAYER, "--certificate", key, expect=50)
    card = made.root / "card.pem"
    card.write_text(read_taxcard(made.root / "0.taxcard").certificate_pem)
    made("enroll", "--taxpayer-id", TAXPAYER, "--certificate", card, expect=21)


def test_declaration_is_matching_unless_it_has_figures(made: Run) -> None:
    base = ["declare", "--taxpayer-id", TAXPAYER, "--period", "2026-07"]
    assert made(*base)["matching"] is True
    assert made(*base, "--matching")["version"] == 2
    file = made.root / "申报.json"
    file.write_text('{"007": {"amount": "600.00", "tax": "78.00"}}', encoding="utf-8-sig")
    assert made(*base, "--figures", file)["matching"] is False
    made(*base, "--figures", file, "--matching", expect=2)
    made(*base, "--figures", made.root / "none.json", expect=50)
    made("declare", "--taxpayer-id", TAXPAYER, "--period", "2026-13", expect=2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"004": {"amount": 1.5}}',
        b'{"004": {"amount": "1.5"}}',
        b'{"004": {"amount": "-0.00"}}',
        b'{"004": {"sum": "1.00"}}',
        b'{"999": {"amount": "1.00"}}',
        b'{"004": "1.00"}',
        b"[" * 100_000,
        b" " * (figures.MAX_BYTES + 1),
    ],
    ids=lambda d: repr(d[:30]),
)
def test_wrong_figures_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        figures.parse_figures(data)


def test_figures_default_to_nothing() -> None:
    assert figures.parse_figures(b'{"004": {"amount": "1.00"}}') == {"004": Figures(100, 0)}


def test_list_show_decide_and_rejudge_know_a_report_by_any_of_its_names(tmp_path: Path, run: Run) -> None:
    office = Office(tmp_path / "office")
    digest = office.send()
    run.home = office.root / "home"
    [item] = run("list")["items"]
    assert (item["report_digest"], item["state"], item["code"]) == (digest, "failed", "271D")
    assert run("list", "--period", "2026-06")["items"] == []
    stem = f"{TAXPAYER}_0_202608010000"
    for name in (digest, digest[:8], stem, f"{stem}.dat"):
        shown = run("show", name)
        assert shown["report_digest"] == digest
    assert [e["event"] for e in shown["events"]] == ["received", "failure"]
    assert run("decide", digest[:8], "--failure", "--code", "2715", "--reason", "补录")["result_no"] == 2
    assert run("rejudge", stem)["report_digest"] == digest
    assert run("decide", stem, "--success", "--reason", "已补录")["outcome"] == "success"
    assert run("decide", stem, "--success", "--reason", "x", expect=52)["code"] == "B5201"
    words = run.words("show", stem)
    assert "报税成功" in words
    assert "3 (by hand)" in words


@pytest.mark.parametrize("name", ["ffff", "x", "310100000000000_0_202607010000", "../../etc/passwd"])
def test_unknown_reports_are_named(made: Run, name: str) -> None:
    assert made("show", name, expect=50)["code"] == "B5006"


def test_ambiguous_start_of_a_digest_is_not_guessed(tmp_path: Path, run: Run) -> None:
    office = Office(tmp_path / "office")
    run.home = office.root / "home"
    digests = [office.send(office.card(0)), office.send(office.card(1))]
    assert run("show", digests[0][:16])["report_digest"] == digests[0]
    made_up = [d[:3] for d in digests]
    assert made_up  # fewer than four digits are never a digest
    run("show", made_up[0], expect=50)


@pytest.mark.parametrize("arguments", [[], ["--success", "--failure"], ["--failure"], ["--failure", "--code", "27 1"]])
def test_decisions_must_be_complete(made: Run, arguments: list[str]) -> None:
    made("decide", "abcd", *arguments, expect=2)


def test_verify_and_explain_need_no_bureau(run: Run) -> None:
    run("explain", "271D")
    assert not run.home.exists()


def test_list_is_narrowed_by_every_filter_and_comes_in_pages_with_the_newest_first(tmp_path: Path, run: Run) -> None:
    office = Office(tmp_path / "office")
    first, second = office.send(office.card(0)), office.send(office.card(1))
    office.clock.moment += timedelta(days=3)
    adhoc = office.send(
        office.card(0),
        stamp=parse_stamp("202608080930"),
        period_start=date(2026, 8, 1),
        period_end=date(2026, 8, 8),
        sequence=8,
    )
    run.home = office.root / "home"

    def listed(*words: object) -> list[str]:
        return [item["report_digest"] for item in run("list", *words)["items"]]

    assert listed() == [adhoc, second, first]
    assert listed("--machine-no", 1) == [second]
    assert listed("--kind", "adhoc") == [adhoc]
    assert listed("--period", "2026-07") == [second, first]
    assert listed("--state", "failed", "--state", "waiting") == [second]
    assert listed("--code", "271D") == [second]
    assert listed("--from", "2026-08-08") == [adhoc]
    assert listed("--to", "2026-08-05") == [second, first]
    assert listed("--taxpayer-id", OTHER_TAXPAYER) == []
    assert listed("--by-hand") == []
    run("decide", second, "--success", "--reason", "x")
    assert listed("--by-hand") == [second]
    page = run("list", "--page-size", 2, "--page", 2)
    assert ([i["report_digest"] for i in page["items"]], page["pages"], page["total"]) == ([first], 2, 3)
    assert "--page 2" in run.words("list", "--page-size", "2")
    assert listed("--page", 9) == []

"""Many companies at one station: the register, a key for each, a folder for each, and who has sent nothing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from online_station.cli import program
from online_station.core.decide import HoldReason
from online_station.shell.intake import Inboxes
from online_station.shell.register import Company, Register, read_list
from online_station.shell.setup import opened
from shared.errors import FileMissing, RegisterInvalid
from shared.ids import TaxpayerId
from shared.states import OnlineState
from tests.support.online import key_file, make_report
from tests.support.pki import NOW, TAXPAYER, pki

OTHER = TaxpayerId("91310000MA1FL0TF46")


def listed(folder: Path, text: str, name: str = "企业.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


# Lists


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_list_is_read_in_the_encodings_of_the_country(tmp_path: Path, encoding: str) -> None:
    path = listed(
        tmp_path, f"税号,名称,收件文件夹\r\n{TAXPAYER},上海　甲公司,甲\r\n\r\n{OTHER},乙公司,\r\n", encoding=encoding
    )
    companies, notes = read_list(path)
    assert companies == [
        Company(TAXPAYER, "上海　甲公司", str(tmp_path / "甲")),
        Company(OTHER, "乙公司"),
    ]
    assert notes == []


def test_a_workbook_is_read_with_numbers_as_they_are_shown(tmp_path: Path) -> None:
    book = Workbook()
    book.active.append(["纳税人识别号", "企业名称", "备注"])
    book.active.append([int(TAXPAYER), "甲", None])
    book.active.append([str(OTHER), "乙", "x"])
    book.save(tmp_path / "企业.xlsx")
    companies, _ = read_list(tmp_path / "企业.xlsx")
    assert [(c.taxpayer_id, c.name) for c in companies] == [(TAXPAYER, "甲"), (OTHER, "乙")]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("", 0),
        ("名称\n甲\n", 1),
        ("税号\n", 0),
        (f"税号\n{TAXPAYER}\n{TAXPAYER}\n", 3),
        ("税号\n123\n", 2),
        (f"税号,密钥文件\n{TAXPAYER},a.p12\n", 2),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_nothing_is_registered(tmp_path: Path, text: str, row: int) -> None:
    with pytest.raises(RegisterInvalid) as caught:
        read_list(listed(tmp_path, text))
    assert caught.value.context["row"] == row


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a workbook", b""])
def test_what_is_no_workbook_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.xlsx").write_bytes(content)
    with pytest.raises(RegisterInvalid):
        read_list(tmp_path / "x.xlsx")
    with pytest.raises(FileMissing):
        read_list(tmp_path / "none.csv")


@pytest.mark.parametrize("number", [911310000123456789, 911310000123456.0 * 1000])
def test_a_number_whose_last_digits_a_spreadsheet_has_lost_is_not_taken_for_another(tmp_path: Path, number) -> None:
    book = Workbook()
    book.active.append(["税号"])
    book.active.append([number])
    book.save(tmp_path / "企业.xlsx")
    with pytest.raises(RegisterInvalid, match="末几位已经丢失") as caught:
        read_list(tmp_path / "企业.xlsx")
    assert caught.value.context["row"] == 2
    with pytest.raises(RegisterInvalid, match="末几位已经丢失"):
        read_list(listed(tmp_path, "税号\n9.1131E+17\n"))


@pytest.mark.parametrize(
    "row",
    [
        f"{TAXPAYER},甲,a\0b,,",
        f"{TAXPAYER},甲\x1b[31m,,,",
        f"{TAXPAYER},甲,{'x' * 300},,",
        f"{TAXPAYER},甲,{'x/' * 3000},,",
        f"{TAXPAYER},甲,,{'x' * 300},pin",
        f"{TAXPAYER},{'x' * 200_000},,,",
    ],
)
def test_what_no_file_system_takes_is_said_before_anything_is_registered(tmp_path: Path, row: str) -> None:
    with pytest.raises(RegisterInvalid) as caught:
        read_list(listed(tmp_path, f"税号,名称,收件文件夹,密钥文件,口令文件\n{row}\n"))
    assert caught.value.context["row"] == 2
    assert "field larger" not in caught.value.text.zh


def test_a_workbook_that_unpacks_without_end_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "企业.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/sharedStrings.xml", "w") as part:
        for _ in range(65):
            part.write(bytes(1 << 20))
    with pytest.raises(RegisterInvalid, match="文件太大"):
        read_list(path)


def test_a_list_that_is_wrong_as_a_whole_is_not_said_to_be_wrong_in_a_row(tmp_path: Path) -> None:
    with pytest.raises(RegisterInvalid) as caught:
        read_list(listed(tmp_path, ""))
    assert caught.value.text.zh == "企业名单不能导入：里面没有企业"
    assert "row" not in caught.value.text.en


def test_a_second_import_brings_the_register_up_to_date(station_desk) -> None:
    with opened(station_desk.home) as store:
        register = Register(store)
        first = register.put([Company(TAXPAYER, "甲"), Company(OTHER, "乙")], NOW)
        again = register.put([Company(TAXPAYER, "甲"), Company(OTHER, "乙有限公司")], NOW)
        assert (first.added, first.changed, first.same) == (2, 0, 0)
        assert (again.added, again.changed, again.same) == (0, 1, 1)
        assert register.find(OTHER).name == "乙有限公司"
        assert register.remove(OTHER)
        assert not register.remove(OTHER)
        assert [c.taxpayer_id for c in register.companies()] == [TAXPAYER]


# Keys


def test_a_missing_key_holds_its_own_taxpayer_and_nobody_else(station_desk, tmp_path: Path) -> None:
    desk = station_desk
    with opened(desk.home) as store:
        Register(store).put(
            [Company(OTHER, "乙", key=str(tmp_path / "乙.p12"), pin_file=str(tmp_path / "乙.pin"))], NOW
        )
    mine = desk.report()
    data, theirs = make_report(signer=desk.bureau.pki.card(OTHER, key_type="p256"))
    (desk.inbox / theirs.header.name.file_name(".dat")).write_bytes(data)
    desk.once()
    assert desk.state(mine) == "accepted"
    row = desk.row(theirs.digest)
    assert (row.state, row.snapshot.hold) == (OnlineState.HELD, HoldReason.KEY_MISSING)
    # The key is put where the register says: the report goes at the next look.
    folder = tmp_path / "乙"
    folder.mkdir()
    key, pin, signer = key_file(folder, pki(), OTHER)
    key.rename(tmp_path / "乙.p12")
    pin.rename(tmp_path / "乙.pin")
    desk.bureau.know(signer.certificate)
    desk.ask_now()
    assert desk.state(theirs.digest) == "accepted"


def test_somebody_elses_key_is_not_used(station_desk, tmp_path: Path) -> None:
    desk = station_desk
    key, pin, _ = key_file(tmp_path, pki(), TAXPAYER)
    with opened(desk.home) as store:
        Register(store).put([Company(OTHER, "乙", key=str(key), pin_file=str(pin))], NOW)
    data, theirs = make_report(signer=desk.bureau.pki.card(OTHER, key_type="p256"))
    (desk.inbox / theirs.header.name.file_name(".dat")).write_bytes(data)
    done = desk.once()
    assert desk.row(theirs.digest).snapshot.hold is HoldReason.KEY_MISSING
    assert TAXPAYER in str(done.problems[0].text)


# Folders


def test_files_are_taken_from_a_folder_per_company_in_the_inbox_and_elsewhere(station_desk, tmp_path: Path) -> None:
    desk = station_desk
    elsewhere = tmp_path / "别处"
    elsewhere.mkdir()
    with opened(desk.home) as store:
        Register(store).put([Company(TAXPAYER, "甲", inbox=str(elsewhere))], NOW)
    folder = desk.inbox / "乙公司"
    folder.mkdir()
    made = []
    for machine, place in ((0, folder), (1, elsewhere), (2, desk.inbox)):
        data, report = make_report(machine, desk.bureau.pki)
        (place / report.header.name.file_name(".dat")).write_bytes(data)
        made.append(report.digest)
    assert sorted(desk.once().harvest.reports) == sorted(made)
    assert [list(place.iterdir()) for place in (folder, elsewhere)] == [[], []]


def test_a_company_folder_out_of_reach_does_not_stop_the_others(station_desk, tmp_path: Path) -> None:
    desk = station_desk
    with opened(desk.home) as store:
        Register(store).put([Company(TAXPAYER, "甲", inbox=str(tmp_path / "断开的网络盘"))], NOW)
    digest = desk.report()
    assert desk.once().harvest.reports == [digest]


def test_folders_in_folders_and_links_are_not_entered(station_desk, tmp_path: Path) -> None:
    desk = station_desk
    deep = desk.inbox / "甲" / "旧"
    deep.mkdir(parents=True)
    data, report = make_report(0, desk.bureau.pki)
    (deep / report.header.name.file_name(".dat")).write_bytes(data)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / report.header.name.file_name(".dat")).write_bytes(data)
    (desk.inbox / "链接").symlink_to(outside)
    assert desk.once().harvest.reports == []
    assert len(list(outside.iterdir())) == 1


def test_a_folder_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "甲").mkdir()
    inboxes = Inboxes(tmp_path)
    assert inboxes.folders() == [tmp_path, tmp_path / "甲"]
    folder = tmp_path / "甲"
    assert inboxes.changed(folder, 0.0, waited_for=False)
    assert inboxes.changed(folder, 1.0, waited_for=False), "too soon to tell by its time"
    assert not inboxes.changed(folder, 10.0, waited_for=False)
    assert inboxes.changed(folder, 11.0, waited_for=True), "a file in it is waited for"
    (folder / "x").write_bytes(b"")
    assert inboxes.changed(folder, 20.0, waited_for=False)
    assert inboxes.changed(tmp_path, 30.0, waited_for=False), "the inbox itself is read every time"
    folder.joinpath("x").unlink()
    folder.rmdir()
    assert not inboxes.changed(folder, 40.0, waited_for=False)


# Who has sent nothing


def test_the_verbs_of_the_register(station_desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object, status: int = 0) -> dict:
        assert program.run(["--home", str(station_desk.home.root), "--json", *map(str, words)]) == status
        return json.loads(capsys.readouterr().out)["data"]

    path = listed(tmp_path, f"税号,名称,密钥文件,口令文件\n{TAXPAYER},甲,,\n{OTHER},乙,没有.p12,没有.txt\n")
    done = run("companies", "import", path, status=1)
    assert (done["added"], done["keys_missing"]) == (2, 1)
    assert run("companies", "import", path, status=1)["same"] == 2
    assert [item["name"] for item in run("companies", "list")["items"]] == ["甲", "乙"]
    assert {each["taxpayer_id"] for each in run("board")["silent"]} == {TAXPAYER, OTHER}
    run("companies", "remove", OTHER)
    run("companies", "remove", OTHER, status=50)
    assert [each["taxpayer_id"] for each in run("board")["silent"]] == [TAXPAYER]

"""Keys of the bureau that are renewed, certificates that are revoked, filing days that are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.calendar import filing_deadline
from shared.clock import CHINA
from shared.envelope.roles import Role
from shared.errors import CertificateRefused, NotFound, WrongState
from shared.model.trust import TrustFile, prove_trust
from tax_bureau import keyring
from tax_bureau.cli import program
from tests.support.bureau import PERIOD, Office
from tests.support.pki import TAXPAYER, pki


def trust(office: Office) -> TrustFile:
    """Return the published trust file, proven from the root as a station would."""
    with office.bureau.store.read() as tx:
        data = tx.trust_file()
    assert data is not None
    return prove_trust(data, root=office.bureau.keyring.root, at=office.clock.now())


def test_a_renewed_envelope_key_opens_what_is_sealed_to_it_and_nothing_older(office: Office) -> None:  # JUDGE-3
    old = office.bureau.keyring.envelope.certificate
    office.declare()
    office.bureau.trust.renew("envelope", "p256")
    assert trust(office).version == 2
    assert trust(office).envelope_certificates(office.clock.now()) == (office.bureau.keyring.envelope.certificate,)
    late = office.send(office.card(0), recipients=[old])
    assert office.code(late) == "2734"
    assert office.bureau.desk.status(_key(office), late).message.startswith("拆解数字信封失败")
    fresh = office.send(office.card(1))
    assert office.code(fresh) == "272C"


def _key(office: Office) -> Any:
    with office.bureau.store.read() as tx:
        return tx.enrolled_keys(TAXPAYER)[0]


def test_another_process_that_renews_a_key_is_noticed_by_the_one_that_serves(tmp_path: Path) -> None:
    office = Office(tmp_path / "today", real_time=True)
    before = office.bureau.keyring.result.certificate
    assert (
        program.run(
            ["--home", str(office.root / "home"), "renew-key", "result", "--key-type", "p256", "--reason", "更换"]
        )
        == 0
    )
    assert office.bureau.keyring.result.certificate != before
    digest = office.send()
    assert office.result(digest).signer == office.bureau.keyring.result.certificate


def test_power_cut_while_a_key_is_renewed_leaves_the_old_one_in_force(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, written = office.bureau.keyring.envelope.certificate, []
    real = keyring.write_durably

    def failing(path: Path, data: bytes, **more: Any) -> None:
        if path.name == "current.json":
            raise OSError("power cut")
        written.append(path.name)
        real(path, data, **more)

    monkeypatch.setattr(keyring, "write_durably", failing)
    with pytest.raises(OSError, match="power cut"):
        office.bureau.trust.renew("envelope", "p256")
    monkeypatch.undo()
    assert written
    office.restart()
    assert office.bureau.keyring.envelope.certificate == before
    office.bureau.trust.renew("envelope", "p256")
    assert office.bureau.keyring.envelope.certificate != before


def test_what_an_interruption_left_unpublished_is_published_once(office: Office) -> None:
    keyring.renew_key(office.root / "home" / "keys", "envelope", "p256", office.clock.now())
    assert office.bureau.trust.publish() == (2, True)
    assert office.bureau.trust.publish() == (2, False)
    assert trust(office).certificates[Role.BUREAU_ENVELOPE] == (office.bureau.keyring.envelope.certificate,)


def test_a_revoked_card_proves_nothing_any_more(office: Office) -> None:  # JUDGE-2
    card = office.card(0)
    data, report = office.seal(card)
    assert office.bureau.trust.revoke(card.certificate) == 2
    with pytest.raises(CertificateRefused):
        trust(office).store().prove(card.certificate, card.chain, Role.CARD, at=office.clock.now())
    reply = office.client().put_report(report.digest, data)
    assert (reply.status, reply.json["code"]) == (422, "2734")
    with office.bureau.store.read() as tx:
        assert [c.on_file.machine_no for c in tx.cards(TAXPAYER)] == [1]


def test_a_revoked_enterprise_key_is_off_file(office: Office) -> None:
    office.bureau.trust.revoke(office.key().certificate)
    reply = office.client().get(f"/v1/taxpayers/{TAXPAYER}/standing?period={PERIOD}")
    assert reply.json["enrolled"] is False


def test_nobody_elses_certificate_is_revoked(office: Office) -> None:
    with pytest.raises(NotFound):
        office.bureau.trust.revoke(pki().card().certificate)
    assert trust(office).version == 1


def test_lists_that_are_signed_anew_keep_what_was_revoked(office: Office) -> None:
    card = office.card(0)
    office.bureau.trust.revoke(card.certificate)
    office.bureau.trust.renew_revocation_lists()
    with pytest.raises(CertificateRefused):
        trust(office).store().prove(card.certificate, card.chain, Role.CARD, at=office.clock.now())


def test_a_published_filing_day_wins_and_travels_in_the_trust_file(office: Office) -> None:  # JUDGE-16, JUDGE-19
    office.bureau.trust.set_filing_day(date(2026, 9, 22))
    assert trust(office).calendar["2026-09"] == 22
    office.declare()
    office.send(office.card(0))
    digest = office.send(office.card(1))
    found = office.result(digest).result
    assert (found.lock_date, found.upload_deadline, found.message) == (date(2026, 9, 22), date(2026, 9, 22), "")


def test_the_trust_file_names_no_day_that_is_only_a_forecast(office: Office) -> None:
    months = trust(office).calendar
    assert "2026-12" in months
    assert all(filing_deadline(month).certain for month in months)


def test_a_month_that_is_over_keeps_its_filing_day(office: Office) -> None:
    with pytest.raises(WrongState):
        office.bureau.trust.set_filing_day(date(2026, 7, 20))
    assert trust(office).version == 1


def test_a_lock_date_of_an_unpublished_year_is_said_to_be_a_forecast(office: Office) -> None:  # JUDGE-19
    digest = office.send()
    office.clock.moment = datetime(2026, 12, 20, 10, tzinfo=CHINA)  # late: the next filing day is in a year unknown yet
    office.bureau.desk.decide(digest, "success")
    found = office.result(digest).result
    assert found.lock_date == filing_deadline("2027-01").day
    assert "预测" in found.message
    assert str(found.lock_date) in found.message
    office.bureau.trust.set_filing_day(date(2027, 1, 20))
    office.bureau.desk.reissue(digest)
    assert office.result(digest).result.message == found.message, "what was decided stays as it was decided"


def test_list_says_which_lock_dates_are_forecasts(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:  # JUDGE-19
    digests = [office.send(office.card(n)) for n in (0, 1)]
    office.bureau.desk.decide(digests[0], "success")
    office.clock.moment = datetime(2026, 12, 20, 10, tzinfo=CHINA)
    office.bureau.desk.decide(digests[1], "success")
    assert program.run(["--home", str(office.root / "home"), "list"]) == 0
    forecast, official = capsys.readouterr().out.splitlines()
    assert "锁死日期为预测" in forecast
    assert "预测" not in official
    assert program.run(["--home", str(office.root / "home"), "show", digests[1]]) == 0
    assert "征期日历尚未公布" in capsys.readouterr().out


@pytest.fixture
def run(office: Office, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def call(*words: object, expect: int = 0) -> Any:
        status = program.run(["--home", str(office.root / "home"), *map(str, words), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert status == expect, found
        return found["data"]

    return call


def test_the_calendar_says_how_sure_each_day_is(office: Office, run: Callable[..., Any]) -> None:
    run("calendar", "set", "2099-03-20", "--reason", "公告")
    items = {i["month"]: i for i in run("calendar", "list", "--from", "2026-12", "--months", 2)["items"]}
    assert items["2026-12"] == {"month": "2026-12", "day": "2026-12-15", "source": "official", "certain": True}
    assert (items["2027-01"]["source"], items["2027-01"]["certain"]) == ("forecast", False)
    [ours] = run("calendar", "list", "--from", "2099-03", "--months", 1)["items"]
    assert (ours["day"], ours["source"]) == ("2099-03-20", "override")


@pytest.mark.parametrize("words", [["2026-13-01"], ["2026-02-30"], ["15"], []])
def test_a_filing_day_is_a_day(run: Callable[..., Any], words: list[str]) -> None:
    run("calendar", "set", *words, "--reason", "x", expect=2)


def test_offline_authority_is_changed_at_the_bureau_and_arrives_with_the_next_success(
    office: Office, run: Callable[..., Any]
) -> None:
    number = office.taxcard(0).card_no
    said = run(
        *("authorise", "--card-no", number, "--offline-hours", 24, "--offline-limit", "004=9.50", "--reason", "核定")
    )
    assert (said["offline_hours"], said["offline_limits"]["004"]) == (24, "9.50")
    office.declare()
    first = office.send(office.card(0))
    office.send(office.card(1))
    office.bureau.desk.judge_all()
    found = office.result(first).result
    assert (found.offline_hours, found.offline_limits["004"]) == (24, 950)
    run("authorise", "--card-no", "0", "--offline-hours", 1, "--reason", "x", expect=50)
    run("authorise", "--card-no", number, "--reason", "x", expect=2)

"""The pages for somebody who is new: taking the card in, a tour, the help."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from offline_station.shell.operators import MIN_PASSWORD, Right, Role
from offline_station.shell.station import Station
from offline_station.shell.visit import meet
from offline_station.web.desk import Desk
from offline_station.web.wording import card_on_page
from shared import faults
from shared.envelope.roles import fingerprint
from shared.errors import FileMissing, MediumError, NothingChosen, OperatorInvalid
from shared.faults import Fault
from shared.medium.volumes import mounted_volumes
from shared.text import Text, both
from shared.text.fingerprints import grouped
from shared.web.blocks import FaultCard, card_of_fault
from shared.web.site import Answer, Go, Page, Visit

_SUFFIX: Final = ".taxcard"
_MANY: Final = 50
_FREQUENT: Final = (*map(both, ("271D", "2715", "272C", "2734", "2735", "Y")), Text("锁死", "locked"))


def add_start_pages(desk: Desk) -> None:
    """Declare them."""
    site = desk.site

    @site.page("/welcome")
    def welcome(visit: Visit) -> Answer:
        if not desk.home.card.exists():
            return Page("welcome.html", step="card", cards=list(_card_files(desk)), home=desk.home.root)
        steps = ("people", "folders", "stick")
        step = visit.query.get("step", "people")
        with desk.look() as station:
            return Page(
                "welcome.html",
                step=step if step in steps else "people",
                reading=station.read(),
                outbox=station.outbox,
                inbox=station.inbox,
                sticks=desk.found_sticks(station),
                root=grouped(fingerprint(station.card.trust_in_force().roots_in_force[-1])),
                has_people=desk.operators.any,
                least=MIN_PASSWORD,
            )

    @site.action("/welcome/card")
    def take_card(visit: Visit) -> Answer:
        typed = visit.form.get("path", "").strip() or visit.form.get("found", "")
        if not typed:
            raise NothingChosen(what=Text("金税卡文件（.taxcard）", "the card's file (.taxcard)"))
        path = Path(typed).expanduser()
        if not path.is_file() and not desk.home.card.exists():
            raise FileMissing(what=path)
        Station.initialise(desk.home, path, desk.clock)
        with contextlib.suppress(MediumError), desk.hold() as station:  # no stick, or not one that is plainly meant
            label, version = meet(station, None)
            if version:
                visit.session.notices.append(
                    Text(
                        f"从U盘“{label}”更新了信任文件（版本 {version}）。",
                        f"The trust file of the stick “{label}” is in force now (version {version}).",
                    )
                )
        visit.session.notices.append(
            Text(
                "金税卡已装入；原来的文件已移走，因为卡只能有一张。",
                "The card is in; its file was moved, because there is only one card.",
            )
        )
        return Go("/welcome?step=people")

    @site.action("/welcome/people")
    def first_people(visit: Visit) -> Answer:
        desk.need(visit, Right.MANAGE)
        form = visit.form
        for prefix in ("admin", "operator"):
            if form.get(f"{prefix}_name", "").strip() and form.get(f"{prefix}_password", "") != form.get(
                f"{prefix}_again", ""
            ):
                raise OperatorInvalid(reason=Text("两次输入的密码不一样", "the two passwords differ"))
        now = desk.clock.now()
        if not desk.operators.any:
            first = desk.operators.add(
                form.get("admin_name", ""), Role.ADMINISTRATOR, form.get("admin_password", ""), now
            )
            site.sessions.renew(visit.session)
            visit.session.sign_in(first.name, first.role.value)
        if form.get("operator_name", "").strip():
            desk.operators.add(
                form["operator_name"],
                Role.OPERATOR,
                form.get("operator_password", ""),
                now,
                may_clear=form.get("may_clear") == "yes",
            )
        return Go("/welcome?step=folders")

    @site.action("/welcome/folders")
    def first_folders(visit: Visit) -> Answer:
        desk.need(visit, Right.MANAGE)
        outbox, inbox = (Path(t) if (t := visit.form.get(name, "").strip()) else None for name in ("outbox", "inbox"))
        Station.initialise(desk.home, None, desk.clock, outbox=outbox, inbox=inbox)
        return Go("/welcome?step=stick")

    @site.page("/tour")
    def tour(_visit: Visit) -> Answer:
        return Page("tour.html")

    @site.page("/help")
    def help_page(visit: Visit) -> Answer:
        query = visit.query.get("q", "").strip()[:200]
        found = faults.search(query) if query else []
        return Page(
            "help.html",
            query=query,
            cards=[_card(fault) for fault in found],
            frequent=_FREQUENT,
            everything=[(fault, card_on_page(card_of_fault(fault)).title) for fault in faults.CATALOGUE.values()],
        )


def _card(fault: Fault) -> FaultCard:
    return card_on_page(card_of_fault(fault))


def _card_files(desk: Desk) -> Iterator[Path]:
    """Yield card files where people put them: on a stick, on the desktop, among the downloads."""
    user = Path.home()
    places = [volume.path for volume in mounted_volumes()]
    places += [user, user / "Desktop", user / "桌面", user / "Downloads", user / "下载", desk.home.root, Path.cwd()]
    seen: set[Path] = set()
    for place in places:
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        for name in names:
            path = place / name
            if name.lower().endswith(_SUFFIX) and path.is_file() and path.resolve() not in seen and len(seen) < _MANY:
                seen.add(path.resolve())
                yield path

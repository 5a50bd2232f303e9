"""The pages of the people: signing in and out, and who works here."""

from __future__ import annotations

import contextlib

from offline_station.shell.operators import MIN_PASSWORD, ROLES, Operator, Right, Role
from offline_station.web.desk import Desk
from shared.errors import NotAllowed, OperatorInvalid, SignInRefused
from shared.text import Text
from shared.web.site import Answer, Go, Page, Visit


def add_people_pages(desk: Desk) -> None:
    """Declare them."""
    site, operators = desk.site, desk.operators

    @site.page("/sign-in")
    def sign_in_page(visit: Visit) -> Answer:
        if visit.session.operator or not operators.any:
            return Go("/")
        return Page("sign_in.html", people=operators.all(), roles=ROLES, error=None, chosen="")

    @site.action("/sign-in")
    def sign_in(visit: Visit) -> Answer:
        name = visit.form.get("name", "")
        try:
            found = operators.prove(name, visit.form.get("password", ""), desk.clock.now())
        except SignInRefused as error:
            return Page("sign_in.html", status=403, people=operators.all(), roles=ROLES, error=error, chosen=name)
        site.sessions.renew(visit.session)
        visit.session.sign_in(found.name, found.role.value)
        _note(desk, "signed-in", found.name)
        return Go("/")

    @site.action("/sign-out")
    def sign_out(visit: Visit) -> Answer:
        visit.session.sign_out()
        site.sessions.renew(visit.session)
        return Go("/sign-in" if operators.any else "/")

    @site.page("/operators")
    def people(visit: Visit) -> Answer:
        return _people(desk, visit)

    @site.action("/operators/add")
    def add(visit: Visit) -> Answer:
        desk.need(visit, Right.MANAGE)
        first = not operators.any
        try:
            if visit.form.get("password", "") != visit.form.get("again", ""):
                raise OperatorInvalid(reason=Text("两次输入的密码不一样", "the two passwords differ"))
            role = Role.ADMINISTRATOR if visit.form.get("role") == Role.ADMINISTRATOR.value or first else Role.OPERATOR
            made = operators.add(
                visit.form.get("name", ""),
                role,
                visit.form.get("password", ""),
                desk.clock.now(),
                may_clear=visit.form.get("may_clear") == "yes",
            )
        except OperatorInvalid as error:
            return _people(desk, visit, error)
        _note(desk, "operator-added", visit.session.operator or made.name, who=made.name, role=made.role.value)
        if first:
            site.sessions.renew(visit.session)
            visit.session.sign_in(made.name, made.role.value)
        visit.session.notices.append(
            Text(f"已添加{ROLES[made.role].zh}“{made.name}”", f"{made.name} was added ({ROLES[made.role].en})")
        )
        return Go("/operators")

    @site.action("/operators/remove")
    def remove(visit: Visit) -> Answer:
        desk.need(visit, Right.MANAGE)
        try:
            gone = operators.remove(visit.form.get("name", ""))
        except OperatorInvalid as error:
            return _people(desk, visit, error)
        site.sessions.sign_out_everywhere(gone.name)
        _note(desk, "operator-removed", visit.session.operator, who=gone.name)
        visit.session.notices.append(Text(f"已删除“{gone.name}”", f"{gone.name} was removed"))
        return Go("/operators" if operators.any and visit.session.operator else "/")

    @site.action("/operators/rights")
    def rights(visit: Visit) -> Answer:
        desk.need(visit, Right.MANAGE)
        try:
            changed = operators.allow_clearing(visit.form.get("name", ""), visit.form.get("may_clear") == "yes")
        except OperatorInvalid as error:
            return _people(desk, visit, error)
        _note(desk, "operator-rights", visit.session.operator, who=changed.name, may_clear=changed.may_clear)
        return Go("/operators")

    @site.action("/operators/password")
    def password(visit: Visit) -> Answer:
        name = visit.form.get("name", "") or visit.session.operator
        own = desk.operator(visit)
        if own is None or own.name != name:
            desk.need(visit, Right.MANAGE)
            if own is None:
                raise NotAllowed(what=Text("改密码", "change a password"))
        try:
            if own.name == name:
                operators.prove(name, visit.form.get("old", ""), desk.clock.now())
            if visit.form.get("password", "") != visit.form.get("again", ""):
                raise OperatorInvalid(reason=Text("两次输入的密码不一样", "the two passwords differ"))
            operators.set_password(name, visit.form.get("password", ""))
        except (OperatorInvalid, SignInRefused) as error:
            return _people(desk, visit, error)
        if own.name != name:
            site.sessions.sign_out_everywhere(name)
        _note(desk, "operator-password", visit.session.operator, who=name)
        visit.session.notices.append(Text(f"“{name}”的密码已改", f"the password of {name} was changed"))
        return Go("/operators")


def _people(desk: Desk, visit: Visit, error: OperatorInvalid | SignInRefused | None = None) -> Answer:
    people: list[Operator] = desk.operators.all()
    return Page(
        "operators.html",
        status=200 if error is None else 409,
        people=people,
        roles=ROLES,
        error=error,
        least=MIN_PASSWORD,
        role_names=list(Role),
    )


def _note(desk: Desk, event: str, by: str, **facts: object) -> None:
    """Write it into the log; that another program holds the station keeps nobody out."""
    with contextlib.suppress(Exception), desk.look() as station:
        station.store.note(desk.clock.now(), event, "", name=by, **facts)

"""Who works at this PC: administrators and operators, their passwords, and who may clear the card.

It keeps the people of one office apart, so that the log says who did what and nobody clears a card by accident. It is
no wall against the account of the operating system: who may read this folder may do everything with it.

The list is a file of its own and in no backup: a backup that is restored brings no old password back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from shared.clock import format_time
from shared.durable import write_durably
from shared.errors import NotAllowed, OperatorInvalid, SignInRefused, StoreDamaged
from shared.text import Text

FORMAT: Final = "taxferry-operators/1"
MIN_PASSWORD: Final = 8
_MAX_PASSWORD: Final = 256
_MAX_NAME: Final = 30
_MAX_OPERATORS: Final = 200
_COST: Final[dict[str, int]] = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 1 << 26}
_TRIES: Final = 5
_PAUSE: Final = timedelta(seconds=30)


class Role(StrEnum):
    """What somebody is. One name is one of the two, never both."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"


ROLES: Final[Mapping[Role, Text]] = {
    Role.ADMINISTRATOR: Text("管理员", "administrator"),
    Role.OPERATOR: Text("操作员", "operator"),
}


class Right(StrEnum):
    """What not everybody may do."""

    CLEAR = "clear"
    MANAGE = "manage"


RIGHTS: Final[Mapping[Right, Text]] = {
    Right.CLEAR: Text("清卡", "clear the card"),
    Right.MANAGE: Text("管理操作员、恢复备份、改文件夹", "manage operators, restore backups, change folders"),
}


@dataclass(frozen=True)
class Operator:
    """One person.

    Attributes:
        name: As it stands in the log.
        role: What they are.
        may_clear: Whether they may clear the card; an administrator always may.
        salt: Of the password, in hex.
        proof: What scrypt makes of the password, in hex.
        since: When they were added.
    """

    name: str
    role: Role
    may_clear: bool
    salt: str
    proof: str
    since: str

    def may(self, right: Right) -> bool:
        """Return whether they have a right."""
        return self.role is Role.ADMINISTRATOR or (right is Right.CLEAR and self.may_clear)


class Operators:
    """The operators of one station."""

    def __init__(self, path: Path) -> None:
        """Keep them in `path`."""
        self._path = path
        self._wrong: dict[str, tuple[int, datetime]] = {}

    def all(self) -> list[Operator]:
        """Return everybody, administrators first.

        Raises:
            StoreDamaged: The list cannot be read: nobody is let in by a damaged list.
        """
        return sorted(self._read().values(), key=lambda one: (one.role is not Role.ADMINISTRATOR, one.name))

    def find(self, name: str) -> Operator | None:
        """Return somebody by name."""
        return self._read().get(_key(name))

    @property
    def any(self) -> bool:
        """Whether there is anybody: without operators nobody has to sign in."""
        return bool(self._read())

    def add(self, name: str, role: Role, password: str, now: datetime, *, may_clear: bool = False) -> Operator:
        """Add somebody; the first one is an administrator.

        Raises:
            OperatorInvalid: The name is taken or unusable, or the password too weak. Nobody was added.
        """
        known = self._read()
        name = _good_name(name)
        if _key(name) in known:
            taken = known[_key(name)]
            raise _invalid(
                f"“{taken.name}”已是{ROLES[taken.role].zh}；管理员和操作员不能同名",
                f"'{taken.name}' is {ROLES[taken.role].en} already; one name is one person with one role",
            )
        if not known and role is not Role.ADMINISTRATOR:
            raise _invalid("第一个必须是管理员", "the first one has to be an administrator")
        if len(known) >= _MAX_OPERATORS:
            raise _invalid(f"最多 {_MAX_OPERATORS} 人", f"at most {_MAX_OPERATORS}")
        salt, proof = _proof_of(_good_password(password, name))
        made = Operator(name, role, may_clear or role is Role.ADMINISTRATOR, salt, proof, format_time(now))
        self._write(known | {_key(name): made})
        return made

    def remove(self, name: str) -> Operator:
        """Remove somebody; the last administrator stays as long as there is anybody else.

        Raises:
            OperatorInvalid: There is nobody of that name, or nobody would be left to manage the others.
        """
        known = self._read()
        gone = self._must_find(known, name)
        rest = {key: one for key, one in known.items() if one is not gone}
        if rest and not any(one.role is Role.ADMINISTRATOR for one in rest.values()):
            raise _invalid("至少要留一名管理员", "one administrator has to stay")
        self._write(rest)
        return gone

    def set_password(self, name: str, password: str) -> None:
        """Give somebody a new password.

        Raises:
            OperatorInvalid: There is nobody of that name, or the password is too weak.
        """
        known = self._read()
        one = self._must_find(known, name)
        salt, proof = _proof_of(_good_password(password, one.name))
        self._write(known | {_key(one.name): replace(one, salt=salt, proof=proof)})
        self._wrong.pop(_key(name), None)

    def allow_clearing(self, name: str, allowed: bool) -> Operator:
        """Say whether an operator may clear the card.

        Raises:
            OperatorInvalid: There is nobody of that name, or it is an administrator.
        """
        known = self._read()
        one = self._must_find(known, name)
        if one.role is Role.ADMINISTRATOR:
            raise _invalid("管理员总是可以清卡", "an administrator always may")
        changed = replace(one, may_clear=allowed)
        self._write(known | {_key(one.name): changed})
        return changed

    def prove(self, name: str, password: str, now: datetime) -> Operator:
        """Return who it is.

        Raises:
            SignInRefused: Wrong, or too often wrong just now.
        """
        key = _key(name)
        count, since = self._wrong.get(key, (0, now))
        if count >= _TRIES and now < since + _PAUSE:
            left = int((since + _PAUSE - now).total_seconds()) + 1
            raise SignInRefused(reason=Text(f"错误次数太多，请 {left} 秒后再试", f"too many attempts; wait {left} s"))
        one = self._read().get(key)
        good = hmac.compare_digest(
            _scrypt(password, bytes.fromhex(one.salt if one else "00")), bytes.fromhex(one.proof if one else "00")
        )
        if one is None or not good:
            self._wrong[key] = (1 if count >= _TRIES else count + 1, now)
            raise SignInRefused(reason=Text("姓名或密码不对", "wrong name or password"))
        self._wrong.pop(key, None)
        return one

    def _must_find(self, known: Mapping[str, Operator], name: str) -> Operator:
        found = known.get(_key(name))
        if found is None:
            raise _invalid(f"没有“{name}”", f"there is no '{name}'")
        return found

    def _read(self) -> dict[str, Operator]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            found = [Operator(**{**one, "role": Role(one["role"])}) for one in content["operators"]]
            return {_key(one.name): one for one in found}
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamaged(reason=f"{self._path.name}: {type(error).__name__}") from None

    def _write(self, known: Mapping[str, Operator]) -> None:
        content = {"format": FORMAT, "operators": [asdict(one) for one in known.values()]}
        write_durably(self._path, json.dumps(content, ensure_ascii=False, indent=1).encode())


def require(operator: Operator | None, right: Right) -> None:
    """Insist on a right; without operators everybody has every right.

    Raises:
        NotAllowed: They do not have it.
    """
    if operator is not None and not operator.may(right):
        raise NotAllowed(what=RIGHTS[right])


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _good_name(name: str) -> str:
    clean = unicodedata.normalize("NFC", name).strip()
    if not clean or len(clean) > _MAX_NAME or not clean.isprintable():
        raise _invalid(f"姓名应为 1 到 {_MAX_NAME} 个字", f"a name has 1 to {_MAX_NAME} characters")
    return clean


def _good_password(password: str, name: str) -> str:
    if not MIN_PASSWORD <= len(password) <= _MAX_PASSWORD:
        raise _invalid(f"密码至少 {MIN_PASSWORD} 位", f"a password has at least {MIN_PASSWORD} characters")
    if len(set(password)) < 3 or _key(password) == _key(name):
        raise _invalid("密码太简单", "the password is too simple")
    return password


def _proof_of(password: str) -> tuple[str, str]:
    salt = secrets.token_bytes(16)
    return salt.hex(), _scrypt(password, salt).hex()


def _scrypt(password: str, salt: bytes) -> bytes:
    secret = unicodedata.normalize("NFC", password).encode(errors="replace")
    return hashlib.scrypt(secret, salt=salt, dklen=32, **_COST)


def _invalid(zh: str, en: str) -> OperatorInvalid:
    return OperatorInvalid(reason=Text(zh, en))

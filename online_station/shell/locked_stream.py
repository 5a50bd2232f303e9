"""A file that opens with a passphrase only: scrypt, and AES-256-GCM in chunks, so that any size needs little memory.

    taxferry-locked/1 LF
    {"kdf": "scrypt", "log_n": 17, "r": 8, "p": 1, "salt": hex of 32 octets} LF
    chunk…            65536 octets of content and a tag of 16; the last one may be shorter

The nonce of a chunk is its number (11 octets, big-endian) and an octet that is 1 for the last chunk and 0 for the others:
chunks cannot be swapped, left out or added, and a file that ends early does not open. The first two lines are
authenticated with every chunk. The salt is new for every file, so no key is used twice.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from shared.errors import PassphraseWrong, StationBackupInvalid
from shared.keys.secret import Secret
from shared.text import Text

MAGIC: Final = b"taxferry-locked/1\n"
LOG_N: Final = 17
_WEAKEST: Final = 14
_STRONGEST: Final = 20
_R: Final = 8
_P: Final = 1
_CHUNK: Final = 1 << 16
_TAG: Final = 16
_MAX_HEADER: Final = 512


def is_locked(path: Path) -> bool:
    """Return whether a file was locked with a passphrase."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _cipher(passphrase: Secret, salt: bytes, log_n: int) -> AESGCM:
    kdf = Scrypt(salt=salt, length=32, n=1 << log_n, r=_R, p=_P)
    return AESGCM(kdf.derive(passphrase.reveal_secret().encode("utf-8")))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


class Locking(io.RawIOBase):
    """Writes what it is given locked into another file; `close` writes the last chunk and leaves that file open."""

    def __init__(self, target: IO[bytes], passphrase: Secret, *, log_n: int | None = None) -> None:
        """Begin with the header.

        Args:
            target: Where to.
            passphrase: What opens it.
            log_n: The cost of guessing, as a power of two.
        """
        self._target = target
        log_n = LOG_N if log_n is None else log_n
        salt = secrets.token_bytes(32)
        parameters = {"kdf": "scrypt", "log_n": log_n, "r": _R, "p": _P, "salt": salt.hex()}
        self._header = MAGIC + json.dumps(parameters).encode() + b"\n"
        self._cipher = _cipher(passphrase, salt, log_n)
        self._waiting = bytearray()
        self._number = 0
        target.write(self._header)

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, data: object) -> int:
        """Take some content."""
        octets = bytes(data)  # type: ignore[call-overload]
        self._waiting += octets
        while len(self._waiting) > _CHUNK:  # a full one waits: it may be the last
            self._put(bytes(self._waiting[:_CHUNK]), last=False)
            del self._waiting[:_CHUNK]
        return len(octets)

    def close(self) -> None:
        """Write the last chunk."""
        if not self.closed and not self._target.closed:
            self._put(bytes(self._waiting), last=True)
            self._waiting.clear()
        super().close()

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._number, last), chunk, self._header))
        self._number += 1


def unlock(source: IO[bytes], passphrase: Secret) -> Iterator[bytes]:
    """Yield the content of a locked file, each part proven.

    Raises:
        PassphraseWrong: The passphrase does not open it.
        StationBackupInvalid: It is damaged or ends early. What was yielded before is not to be used.
    """
    header = source.readline(len(MAGIC)) + source.readline(_MAX_HEADER)
    try:
        parameters = json.loads(header.removeprefix(MAGIC))
        log_n, salt = int(parameters["log_n"]), bytes.fromhex(parameters["salt"])
        known = (parameters["kdf"], parameters["r"], parameters["p"]) == ("scrypt", _R, _P)
    except (ValueError, KeyError, TypeError):
        known, log_n, salt = False, 0, b""
    if not header.startswith(MAGIC) or not known or not _WEAKEST <= log_n <= _STRONGEST or len(salt) != 32:
        raise _damaged()
    cipher = _cipher(passphrase, salt, log_n)
    number, chunk = 0, source.read(_CHUNK + _TAG)
    while True:
        following = source.read(_CHUNK + _TAG) if len(chunk) == _CHUNK + _TAG else b""
        try:
            yield cipher.decrypt(_nonce(number, not following), chunk, header)
        except InvalidTag:
            if number == 0:
                raise PassphraseWrong(
                    reason=Text("口令不对，或文件已损坏", "the passphrase is wrong, or the file is damaged")
                ) from None
            raise _damaged() from None
        except ValueError:  # shorter than a tag
            raise _damaged() from None
        if not following:
            return
        number, chunk = number + 1, following


def unlock_file(source: Path, target: Path, passphrase: Secret) -> None:
    """Write the content of a locked file into a new one that only its owner reads.

    Raises:
        PassphraseWrong: The passphrase does not open it. There is no new file.
        StationBackupInvalid: It is damaged. There is no new file.
    """
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as writer, source.open("rb") as reader:
            for part in unlock(reader, passphrase):
                writer.write(part)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _damaged() -> StationBackupInvalid:
    return StationBackupInvalid(reason=Text("文件不完整或已损坏", "the file is incomplete or damaged"))

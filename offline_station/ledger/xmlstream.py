"""XML from strangers, as a stream of opened and closed elements: nothing is kept, everything is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from defusedxml.ElementTree import DefusedXMLParser

from shared.text import Text

_CHUNK: Final = 1 << 16
_MAX_SILENCE: Final = 1 << 20
"""Bytes without any element or text: a tag or a comment that the parser would have to hold as a whole."""
MAX_DEPTH: Final = 64
MAX_TEXT: Final = 1 << 16


class XmlRefused(ValueError):
    """The XML goes beyond what any list needs."""

    def __init__(self, zh: str, en: str) -> None:
        """Say why, in both languages."""
        super().__init__(en)
        self.text = Text(zh, en)


class ByteSource(Protocol):
    """Whatever gives bytes piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, none at the end."""
        ...


class XmlTarget:
    """Told of every element; a subclass overrides `opened` and `closed`."""

    def __init__(self) -> None:
        """Begin before the root."""
        self.events = 0
        self._depth = 0
        self._text: list[str] = []
        self._length = 0
        self._parser: DefusedXMLParser | None = None

    @property
    def line(self) -> int:
        """The line that is being read."""
        return int(self._parser.parser.CurrentLineNumber) if self._parser is not None else 0

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        """Hear of an element that begins; `name` has no namespace."""

    def closed(self, name: str, text: str) -> None:
        """Hear of an element that ends, with the text since the last tag."""

    # What the parser calls:

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Count and pass on."""
        self.events += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise XmlRefused("XML 嵌套过深", "the XML is nested too deeply")
        self._text, self._length = [], 0
        self.opened(tag.rpartition("}")[2], attributes)

    def data(self, text: str) -> None:
        """Collect, within bounds."""
        self.events += 1
        self._length += len(text)
        if self._length > MAX_TEXT:
            raise XmlRefused("XML 的一个元素过长", "an element of the XML is too long")
        self._text.append(text)

    def end(self, tag: str) -> None:
        """Count and pass on."""
        self.events += 1
        self._depth -= 1
        text = "".join(self._text)
        self._text, self._length = [], 0
        self.closed(tag.rpartition("}")[2], text)

    def close(self) -> None:
        """End; nothing was built."""


def feed(file: ByteSource, target: XmlTarget, *, encoding: str | None = None) -> Iterator[None]:
    """Read a file through the parser into `target`; control comes back after every piece.

    Args:
        file: The XML.
        target: Is told.
        encoding: Overrides what the XML declares about itself.

    Raises:
        XmlRefused: Beyond the bounds.
        ParseError, DefusedXmlException, ValueError: Not well formed, or with a document type.
    """
    parser = DefusedXMLParser(target=target, encoding=encoding, forbid_dtd=True)
    target._parser = parser  # noqa: SLF001 - the two belong together
    silence = 0
    while piece := file.read(_CHUNK):
        before = target.events
        parser.feed(piece)
        silence = 0 if target.events > before else silence + len(piece)
        if silence > _MAX_SILENCE:
            raise XmlRefused("XML 的一个标记过长", "a tag of the XML is too long")
        yield
    parser.close()
    yield

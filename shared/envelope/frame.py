"""Reads one zstd frame (RFC 8878) block by block, so that its end and its size are known exactly.

The library alone would follow a hostile frame too far: a few octets can stand for gigabytes, a window can claim
gigabytes of memory, and what comes after the first frame is easily overlooked. Here the headers are read first, each
block is handed over alone and gives at most 128 KiB, and whatever follows the frame is refused (ENV-7).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zstandard

from shared.envelope.der import Malformed
from shared.text import Text

MAX_WINDOW_BYTES: Final = 8 << 20
_MAGIC: Final = (0xFD2FB528).to_bytes(4, "little")
_MAX_BLOCK_BYTES: Final = 1 << 17
_BLOCK_HEADER_BYTES: Final = 3
_RAW, _RUN, _COMPRESSED = range(3)
_CHECKSUM_BYTES: Final = 4


class FrameReader:
    """Decompresses one frame as it arrives, in memory bounded by its window."""

    def __init__(self, limit: int) -> None:
        """Expect a frame of at most `limit` octets of content."""
        self._limit = limit
        self._kept = bytearray()
        self._inflate = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        self._in_blocks = False
        self._has_checksum = False
        self._ended = False
        self.total = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next octets of the frame and yield content, at most 128 KiB at a time.

        Raises:
            Malformed: Not one frame of the permitted kind, or more content than expected.
        """
        self._kept += data
        at = 0
        if not self._in_blocks:
            size = self._header_bytes()
            if size is None:
                return
            self._give(size)
            at, self._in_blocks = size, True
        while not self._ended and (size := self._block_bytes(at)) is not None:
            block = bytes(memoryview(self._kept)[at : at + size])
            at += size
            content = self._decompress(block)
            if content:
                yield content
        del self._kept[:at]
        if self._ended and self._kept:
            raise Malformed(Text("压缩数据之后还有内容", "something follows the compressed frame"))

    def finish(self) -> None:
        """State that the frame is complete.

        Raises:
            Malformed: It is not.
        """
        if not self._ended:
            raise Malformed(Text("压缩数据不完整", "the compressed frame ends early"))

    def _give(self, size: int) -> None:
        self._decompress(bytes(self._kept[:size]))

    def _decompress(self, data: bytes) -> bytes:
        try:
            content: bytes = self._inflate.decompress(data)
        except zstandard.ZstdError:
            raise Malformed(Text("压缩数据无法解开", "the compressed frame is damaged")) from None
        self.total += len(content)
        if self.total > self._limit:
            raise Malformed(Text("内容超过签名的大小", "more content than the signed size"))
        return content

    def _header_bytes(self) -> int | None:
        """Return the size of the frame header once all of it is there; check what it says."""
        kept = self._kept
        if not _MAGIC.startswith(kept[:4]):
            raise Malformed(Text("不是 zstd 数据", "not a zstd frame"))
        if len(kept) < 5:
            return None
        descriptor = kept[4]
        single = bool(descriptor & 0x20)
        content_size_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
        size = 5 + (0 if single else 1) + content_size_bytes
        if descriptor & 0x18 or descriptor & 0x03:
            raise Malformed(Text("压缩数据使用了字典或保留位", "the frame needs a dictionary or sets a reserved bit"))
        if len(kept) < size:
            return None
        window = 0
        if not single:
            base = 1 << (10 + (kept[5] >> 3))
            window = base + base // 8 * (kept[5] & 7)
        if content_size_bytes:
            stated = int.from_bytes(kept[size - content_size_bytes : size], "little")
            stated += 256 if content_size_bytes == 2 else 0
            window = stated if single else window
            if stated > self._limit:
                raise Malformed(Text("内容超过签名的大小", "more content than the signed size"))
        if window > MAX_WINDOW_BYTES:
            raise Malformed(Text("压缩窗口过大", "the window of the frame is too large"))
        self._has_checksum = bool(descriptor & 0x04)
        return size

    def _block_bytes(self, at: int) -> int | None:
        """Return the size of the block at `at` with its header, and the checksum after the last, once it is there."""
        if len(self._kept) - at < _BLOCK_HEADER_BYTES:
            return None
        header = int.from_bytes(self._kept[at : at + _BLOCK_HEADER_BYTES], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind > _COMPRESSED or size > _MAX_BLOCK_BYTES:
            raise Malformed(Text("压缩数据无法解开", "a block of the frame is invalid"))
        whole = _BLOCK_HEADER_BYTES + (1 if kind == _RUN else size)
        if last and self._has_checksum:
            whole += _CHECKSUM_BYTES
        if len(self._kept) - at < whole:
            return None
        self._ended = bool(last)
        return whole

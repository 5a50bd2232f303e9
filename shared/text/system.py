"""What the operating system says, for people: its complaints in both languages, its names of files.

The system's own words (`strerror`) come in the language of its C library, which is not the operator's: the common
complaints are said here, and the rare ones carry their number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

from shared.text import Text

_REASONS: Final[Mapping[int, Text]] = {
    errno.ENOENT: Text("文件或文件夹不存在", "no such file or folder"),
    errno.EEXIST: Text("同名的文件已经存在", "a file of that name exists already"),
    errno.ENOTDIR: Text("路径中有一段是文件，不是文件夹", "a part of the path is a file and no folder"),
    errno.EISDIR: Text("这是文件夹，不是文件", "it is a folder and no file"),
    errno.EACCES: Text("没有权限", "access denied"),
    errno.EPERM: Text("没有权限", "access denied"),
    errno.EROFS: Text("只读，不能写入", "it is read-only"),
    errno.ENOSPC: Text("磁盘已满", "the disk is full"),
    errno.EFBIG: Text("文件太大", "the file is too large"),
    errno.ENAMETOOLONG: Text("文件名太长", "the name is too long"),
    errno.ELOOP: Text("链接循环", "the links go in a circle"),
    errno.EBUSY: Text("正被其他程序占用", "another program holds it"),
    errno.EIO: Text("读写出错，介质可能已损坏或被拔出", "reading or writing failed: damaged, or pulled out"),
    errno.ENODEV: Text("设备不存在，可能已被拔出", "the device is gone"),
    errno.ENXIO: Text("设备不存在，可能已被拔出", "the device is gone"),
    errno.EADDRINUSE: Text("端口已被占用", "the port is in use"),
    errno.EADDRNOTAVAIL: Text("本机没有这个地址", "this PC has no such address"),
    errno.ECONNREFUSED: Text("对方拒绝连接", "connection refused"),
    errno.ECONNRESET: Text("连接被对方中断", "the connection was reset"),
    errno.ECONNABORTED: Text("连接被中断", "the connection was aborted"),
    errno.ENETUNREACH: Text("网络不通", "the network is unreachable"),
    errno.EHOSTUNREACH: Text("找不到通往对方的路径", "there is no route to the host"),
    errno.ETIMEDOUT: Text("超时，没有回应", "no answer in time"),
}


def os_reason(error: OSError) -> Text:
    """Return why the operating system refused, as people say it; never a path."""
    if isinstance(error, TimeoutError):
        return _REASONS[errno.ETIMEDOUT]
    number = error.errno
    if number is None:
        return Text("系统错误", "a system error")
    known = _REASONS.get(number)
    return known if known is not None else Text(f"系统错误 {number}", error.strerror or f"system error {number}")


def shown_name(name: str) -> str:
    """Return a file's name as it can be shown and kept.

    A name that is not UTF-8 (old Windows wrote GBK) reaches a program on Linux with its octets smuggled in as
    surrogates, which no database and no file takes.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("gb18030", "replace")
    return name

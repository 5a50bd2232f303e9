"""The frame of the three programs: one grammar, one way to say what happened, one way to fail.

    program = Program("offline-station", Text("税渡 开票机", "taxferry, invoicing PC"))

    @program.verb("copy", Text("抄税处理", "freeze the period's figures"), option("--adhoc", is_flag=True, help=Text(…)))
    def copy(context: Context, adhoc: bool) -> Outcome: ...

    invoices = program.group("invoices", Text("发票", "invoices"))
    @invoices.verb("import", Text(…), argument("files", nargs=-1, required=True, type=FILE))
    def import_files(context: Context, files: tuple[Path, ...]) -> Outcome: ...

    add_standard_verbs(program)

    def main() -> None:
        program.main()

The rules that hold for every verb, whoever wrote it:

- `--json`, `--lang`, `--home` and `--version` are accepted before and after the verb;
- with `--json`, standard output is exactly one object, also for a usage error and for a defect of the program;
- what happened and the next human action go to standard output; errors, warnings and progress to standard error;
- the exit status is `shared.errors.ExitCode`, and nothing foreseeable ends in a traceback.

It knows no station and no file format, and no verb's meaning.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import gettext
import io
import json
import os
import secrets
import signal
import sqlite3
import sys
import threading
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, TextIO, TypeVar

import click
import platformdirs

import shared
from shared.clock import parse_time, readable_time
from shared.durable import TEMPORARY_SUFFIX
from shared.errors import (
    AccessDenied,
    CodeUnknown,
    ConfigurationError,
    ExitCode,
    FileMissing,
    InternalError,
    Interrupted,
    MediumDamaged,
    MediumReadOnly,
    StationBusy,
    StorageFull,
    StoreDamaged,
    TaxferryError,
    UsageError,
)
from shared.text import Language, Text, both, current_language, detect_language, set_language
from shared.text.system import os_reason

_LOCALE: Final = Path(__file__).parent / "text" / "locale"
_FIRST_PROGRESS_SECONDS: Final = 3.0
_SPARSE_PROGRESS_SECONDS: Final = 10.0
_TERMINAL_PROGRESS_SECONDS: Final = 0.1

FILE: Final = click.Path(path_type=Path)
"""The type of a parameter that names a file: whether it exists is the verb's to find out."""
FOLDER: Final = click.Path(path_type=Path)
"""The type of a parameter that names a folder."""


@dataclass(frozen=True)
class Outcome:
    """What a verb did.

    Attributes:
        data: The `data` object of `--json`.
        lines: What happened, for people.
        next_action: The next human action, and on which PC.
        warnings: Each makes the exit status 1 where it would be 0.
        exit_code: The status; 0 unless the verb says otherwise.
        errors: Errors that did not keep the verb from having data (one bad file of several). The first one's status
            is the exit status if `exit_code` is 0.
    """

    data: Mapping[str, object]
    lines: Sequence[Text] = ()
    next_action: Text | None = None
    warnings: Sequence[Text] = ()
    exit_code: ExitCode = ExitCode.OK
    errors: Sequence[TaxferryError] = ()

    @property
    def status(self) -> ExitCode:
        """The exit status."""
        if self.exit_code is not ExitCode.OK:
            return self.exit_code
        if self.errors:
            return self.errors[0].exit_code
        return ExitCode.WARNINGS if self.warnings else ExitCode.OK


@dataclass
class Context:
    """What a verb knows about its invocation.

    Attributes:
        program: The name the program was made with (`offline-station`).
        home: The folder that holds all state, from `--home` or the system's custom; it need not exist yet.
        json: Whether one JSON object is wanted instead of words.
    """

    program: str
    home: Path
    json: bool = False
    _progress: _Progress = field(default_factory=lambda: _Progress(), repr=False)  # noqa: PLW0108  defined below
    _end: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def at_end(self, close: Callable[[], None]) -> None:
        """Have something closed when the verb ends, however it ends."""
        self._end.callback(close)

    def progress(self, done: int, total: int | None, what: Text) -> None:
        """Show how far a long step is: live on a terminal, some sparse lines elsewhere."""
        self._progress.show(done, total, what)

    def say(self, line: Text) -> None:
        """Tell people something at once, before the verb ends; with `--json` nothing."""
        if not self.json:
            self._progress.wipe()
            print(line, flush=True)

    def emit(self, event: Mapping[str, object]) -> None:
        """With `--json`, print one JSON line now: for the verbs that run until they are stopped."""
        if self.json:
            print(_dump(event), flush=True)


def _as_if_interrupted(_number: int, _frame: FrameType | None) -> None:
    """Let a service manager or a shutdown end a verb as Ctrl-C does: what was begun is undone or left to be finished."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C set `stop` while the block runs; asked twice, the program ends at once."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


Verb = Callable[..., Outcome]
V = TypeVar("V", bound=Verb)


class _Progress:
    """One line on standard error, rewritten on a terminal; elsewhere a new line now and then."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.shown = 0.0
        self.width = 0

    def show(self, done: int, total: int | None, what: Text) -> None:
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        finished = total is not None and done >= total
        if terminal:
            if not finished and now - self.shown < _TERMINAL_PROGRESS_SECONDS:
                return
        elif now - self.started < _FIRST_PROGRESS_SECONDS or now - self.shown < _SPARSE_PROGRESS_SECONDS:
            return
        self.shown = now
        amount = f"{done:,}" if total is None else f"{done:,} / {total:,}"
        if total:
            amount += f" ({100 * min(done, total) // total} %)"
        line = f"{what} {amount}"
        if not terminal:
            print(line, file=sys.stderr, flush=True)
            return
        width = _columns(line)
        print("\r" + line + " " * (self.width - width), end="", file=sys.stderr, flush=True)
        self.width = width

    def wipe(self) -> None:
        if self.width:
            print("\r" + " " * self.width + "\r", end="", file=sys.stderr, flush=True)
            self.width = 0


def _columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


class _Option(click.Option):
    """An option whose help is in both languages."""

    def __init__(self, *declarations: str, words: Text | None = None, **settings: Any) -> None:
        super().__init__(declarations, **settings)
        self.words = words

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.words is not None:
            self.help = str(self.words)
        return super().get_help_record(ctx)


class _Argument(click.Argument):
    """An argument whose help is in both languages."""

    def __init__(self, name: str, words: Text | None = None, **settings: Any) -> None:
        super().__init__([name], **settings)
        self.words = words

    def row(self, ctx: click.Context) -> tuple[str, str] | None:
        return None if self.words is None else (self.make_metavar(ctx), str(self.words))


def option(*declarations: str, help: Text | None = None, **settings: Any) -> click.Parameter:  # noqa: A002
    """Return an option of a verb; `settings` are those of `click.Option`."""
    return _Option(*declarations, words=help, **settings)


def argument(name: str, *, help: Text | None = None, **settings: Any) -> click.Parameter:  # noqa: A002
    """Return a positional argument of a verb; `settings` are those of `click.Argument`."""
    return _Argument(name, words=help, **settings)


@dataclass
class _Session:
    """The global options, wherever on the line they stood."""

    program: Program
    json: bool = False
    home: Path | None = None
    command: str = ""
    context: Context | None = None


def _session(ctx: click.Context) -> _Session:
    found = ctx.find_object(_Session)
    assert found is not None
    return found


def _take_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        _session(ctx).json = True


def _take_home(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        _session(ctx).home = value


def _take_language(_ctx: click.Context, _parameter: click.Parameter, _value: str | None) -> None:
    """Do nothing: the language is read before anything else, so that even usage errors are in it."""


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        session = _session(ctx)
        raise _Ended(Outcome({"program": session.program.name, "version": shared.__version__}, [session.program.stamp]))


def _show_help(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        help_text = ctx.get_help()
        raise _Ended(Outcome({"help": help_text}, [both(help_text)]))


class _Ended(Exception):
    """A global option answered in the verb's place."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def _global_options() -> list[click.Parameter]:
    return [
        _Option(
            "--json",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_take_json,
            words=Text("只输出一个 JSON 对象", "print exactly one JSON object"),
        ),
        _Option(
            "--lang",
            type=click.Choice(["zh", "en"]),
            is_eager=True,
            expose_value=False,
            callback=_take_language,
            words=Text("语言；默认随系统", "language; the system's by default"),
        ),
        _Option(
            "--home",
            metavar="DIR",
            type=FOLDER,
            is_eager=True,
            expose_value=False,
            callback=_take_home,
            words=Text("存放全部数据的文件夹", "the folder that holds all state"),
        ),
        _Option(
            "--version",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            words=Text("显示版本后退出", "show the version and exit"),
        ),
        _Option(
            "--help",
            "-h",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_help,
            words=Text("显示本帮助后退出", "show this help and exit"),
        ),
    ]


_OPTIONS: Final = Text("[选项]", "[OPTIONS]")
_COMMAND: Final = Text("命令 …", "COMMAND …")


class _Command(click.Command):
    """A verb."""

    def __init__(self, name: str, words: Text, parameters: Sequence[click.Parameter], call: Verb) -> None:
        super().__init__(name, params=[*parameters, *_global_options()], add_help_option=False)
        self.words = words
        self.call = call

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None:
            _session(parent).command = _join(_session(parent).command, self.name)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Outcome:
        session = _session(ctx)
        home = session.home
        session.context = Context(
            program=session.program.name,
            home=session.program.default_home() if home is None else home,
            json=session.json,
        )
        with session.context._end:  # noqa: SLF001  the frame's own
            return self.call(session.context, **ctx.params)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.help = str(self.words)
        super().format_help_text(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, _Argument) and (record := parameter.row(ctx)) is not None
        ]
        if rows:
            with formatter.section(str(Text("参数", "Arguments"))):
                formatter.write_dl(rows)
        rows = [
            record
            for parameter in self.get_params(ctx)
            if not isinstance(parameter, click.Argument) and (record := parameter.get_help_record(ctx)) is not None
        ]
        with formatter.section(str(Text("选项", "Options"))):
            formatter.write_dl(rows)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        self.options_metavar = str(_OPTIONS)
        return super().collect_usage_pieces(ctx)

    def get_short_help_str(self, limit: int = 45) -> str:
        return str(self.words).split("\n", 1)[0]


class _Group(click.Group):
    """A group of verbs; lists them in the order in which they were declared."""

    def __init__(self, name: str, words: Text) -> None:
        super().__init__(name, params=_global_options(), add_help_option=False)
        self.words = words

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None:
            _session(parent).command = _join(_session(parent).command, self.name)
        return super().make_context(info_name, args, parent, **extra)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        self.options_metavar, self.subcommand_metavar = str(_OPTIONS), str(_COMMAND)
        return super().collect_usage_pieces(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.help = str(self.words)
        super().format_help_text(ctx, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        return str(self.words).split("\n", 1)[0]


def _join(first: str, second: str | None) -> str:
    return f"{first} {second or ''}".strip()


class VerbGroup:
    """Where verbs are declared: the program itself, or a group such as `invoices`."""

    def __init__(self, group: _Group) -> None:
        """Declare into `group`."""
        self._group = group

    def verb(self, name: str, help: Text, *parameters: click.Parameter) -> Callable[[V], V]:  # noqa: A002
        """Declare a verb.

        Args:
            name: The word on the command line.
            help: What it does; the first line is its line in the list of verbs.
            parameters: Made by `option` and `argument`, in the order of the help.

        Returns:
            A decorator. The function is called with a `Context` and the parameters by name.
        """

        def declare(function: V) -> V:
            self._group.add_command(_Command(name, help, parameters, function))
            return function

        return declare

    def group(self, name: str, help: Text) -> VerbGroup:  # noqa: A002
        """Declare a group of verbs and return it; a second time, return the same one."""
        known = self._group.commands.get(name)
        if isinstance(known, _Group):
            return VerbGroup(known)
        made = _Group(name, help)
        self._group.add_command(made)
        return VerbGroup(made)


class Program(VerbGroup):
    """One of the three programs."""

    def __init__(self, name: str, title: Text) -> None:
        """Make a program without verbs.

        Args:
            name: The command (`offline-station`).
            title: What it is, for its help.
        """
        self.name = name
        self.title = title
        super().__init__(_Group(name, title))

    @property
    def stamp(self) -> Text:
        """Name, title and version."""
        return Text(
            f"{self.name} {shared.__version__}  {self.title.zh.splitlines()[0]}",
            f"{self.name} {shared.__version__}  {self.title.en.splitlines()[0]}",
        )

    def default_home(self) -> Path:
        """Return the folder that holds the state where `--home` is not given."""
        return Path(platformdirs.user_data_dir("taxferry", appauthor=False)) / self.name

    def main(self, args: Sequence[str] | None = None) -> NoReturn:
        """Run the command line and end the process with its exit status."""
        with contextlib.suppress(ValueError):  # not the main thread of the process
            signal.signal(signal.SIGTERM, _as_if_interrupted)
        os.umask(0o077)  # databases, invoices and keys are nobody else's, wherever the home lies
        status = self.run(args)
        _flush()
        sys.exit(status)

    def run(self, args: Sequence[str] | None = None) -> int:
        """Run the command line; print what is to be printed and return the exit status.

        Args:
            args: Without the program's name; `sys.argv` by default.
        """
        _make_streams_safe()
        words = list(sys.argv[1:] if args is None else args)
        # A copy of the context: the language of one run is nobody else's.
        return contextvars.copy_context().run(self._run, words)

    def _run(self, args: list[str]) -> int:
        json_wanted, language = _peek(args)
        set_language(language or detect_language())
        session = _Session(self, json=json_wanted)
        outcome: Outcome
        try:
            with _click_speaks(current_language()):
                outcome = self._invoke(args, session)
        except BrokenPipeError:
            _abandon_output()
            return int(ExitCode.WARNINGS)
        except Exception as error:  # noqa: BLE001  the last line of defence: a defect must end in a clear message too
            failure = as_taxferry_error(error) or self._internal(error, session)
            outcome = Outcome({}, errors=[failure])
        if session.context is not None:
            session.context._progress.wipe()  # noqa: SLF001  same module
        try:
            _report(outcome, session)
        except BrokenPipeError:
            _abandon_output()
        return int(outcome.status)

    def _invoke(self, args: list[str], session: _Session) -> Outcome:
        try:
            result = self._group.main(args, prog_name=self.name, standalone_mode=False, obj=session)
        except _Ended as ended:
            return ended.outcome
        except click.Abort:
            return Outcome({}, errors=[Interrupted()])
        except click.exceptions.NoArgsIsHelpError as error:
            if not session.json and error.ctx is not None:
                print(error.ctx.get_help(), file=sys.stderr)
            missing = Text("缺少命令", "a command is missing")
            return Outcome({}, errors=[UsageError(reason=missing, **_try(error.ctx, self.name))])
        except click.ClickException as error:
            ctx = getattr(error, "ctx", None)
            reason = error.format_message().strip().rstrip("。.")
            return Outcome({}, errors=[UsageError(reason=reason, **_try(ctx, self.name))])
        if not isinstance(result, Outcome):
            raise TypeError(f"{session.command}: a verb returns an Outcome, not {type(result).__name__}")
        return result

    def _internal(self, error: Exception, session: _Session) -> TaxferryError:
        details = "".join(traceback.format_exception(error))
        if os.environ.get("TAXFERRY_DEBUG") == "1":
            print(details, file=sys.stderr)
        reference = secrets.token_hex(4)
        folder = (session.home or self.default_home()) / "log"
        try:
            # Only where a station lives already: a program that fails must not leave folders behind.
            if folder.parent.is_dir():
                folder.mkdir(exist_ok=True)
                (folder / f"defect-{reference}.txt").write_text(details, encoding="utf-8", errors="backslashreplace")
                reference = str(folder / f"defect-{reference}.txt")
        except OSError:
            pass
        return InternalError(kind=type(error).__name__, reference=reference)


def _try(ctx: click.Context | None, name: str) -> dict[str, str]:
    return {"command": ctx.command_path if ctx is not None else name}


def _peek(args: Sequence[str]) -> tuple[bool, Language | None]:
    """Read the two options that decide how even a wrong command line is answered."""
    json_wanted = False
    language: Language | None = None
    for index, word in enumerate(args):
        if word == "--":
            break
        json_wanted = json_wanted or word == "--json"
        value = word[7:] if word.startswith("--lang=") else None
        if word == "--lang" and index + 1 < len(args):
            value = args[index + 1]
        if value == "zh":
            language = "zh"
        elif value == "en":
            language = "en"
    return json_wanted, language


@contextlib.contextmanager
def _click_speaks(language: Language) -> Iterator[None]:
    """Let click's own messages be in `language`: it asks gettext at the moment it speaks."""
    domain, folder = gettext.textdomain(), gettext.bindtextdomain("click")
    before = os.environ.get("LANGUAGE")
    gettext.bindtextdomain("click", str(_LOCALE))
    gettext.textdomain("click")
    os.environ["LANGUAGE"] = "zh_CN" if language == "zh" else "en"
    try:
        yield
    finally:
        gettext.textdomain(domain)
        gettext.bindtextdomain("click", folder)
        if before is None:
            os.environ.pop("LANGUAGE", None)
        else:
            os.environ["LANGUAGE"] = before


def _report(outcome: Outcome, session: _Session) -> None:
    status = outcome.status
    if session.json:
        data = dict(outcome.data)
        if outcome.next_action is not None:
            data.setdefault("next_action", str(outcome.next_action))
        if outcome.warnings:
            data.setdefault("warnings", [str(w) for w in outcome.warnings])
        print(
            _dump(
                {
                    "ok": status in (ExitCode.OK, ExitCode.WARNINGS),
                    "command": session.command,
                    "data": data,
                    "errors": [e.as_json() for e in outcome.errors],
                    "version": shared.__version__,
                }
            ),
            flush=True,
        )
        return
    for line in outcome.lines:
        print(line)
    sys.stdout.flush()
    for warning in outcome.warnings:
        print(Text(f"注意：{warning.zh}", f"warning: {warning.en}"), file=sys.stderr)
    for error in outcome.errors:
        print_error(error)
    if outcome.next_action is not None:
        print(Text(f"下一步：{outcome.next_action.zh}", f"next: {outcome.next_action.en}"))
    sys.stdout.flush()


def print_error(error: TaxferryError) -> None:
    """Print an error for people on standard error: what happened, the data, what to do."""
    print(
        Text(f"错误：{error.text.zh} [{error.code}]", f"error: {error.text.en} [{error.code}]"),
        Text(f"数据：{error.safe.zh}", f"data: {error.safe.en}"),
        Text(f"办法：{error.advice.zh}", f"hint: {error.advice.en}"),
        sep="\n",
        file=sys.stderr,
        flush=True,
    )


def _dump(value: Mapping[str, object]) -> str:
    # ASCII: the one spelling that every code page of every console and pipe lets through.
    return json.dumps(value, ensure_ascii=True, default=str, separators=(", ", ": "))


def _make_streams_safe() -> None:
    """Let no character end the program: a redirected Windows stream has the code page of the last century."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        with contextlib.suppress(ValueError, OSError):
            if stream.isatty():
                stream.reconfigure(errors="backslashreplace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _abandon(stream)
        except (OSError, ValueError):
            continue


def _abandon_output() -> None:
    _abandon(sys.stdout)
    _abandon(sys.stderr)


def _abandon(stream: TextIO) -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain about it at its end."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_GONE: Final = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, getattr(errno, "ENOMEDIUM", errno.EIO), getattr(errno, "ESTALE", errno.EIO)}
)
_STATION_DATA: Final = Text("本站的数据文件", "this station's data files")
_SQLITE_PRIMARY: Final = 0xFF  # an extended result code keeps its primary one in the low octet


def as_taxferry_error(error: BaseException) -> TaxferryError | None:
    """Return the clear error that a foreseeable failure of the system means, or None if it is no such failure."""
    if isinstance(error, TaxferryError):
        return error
    if isinstance(error, OSError):
        return _from_os_error(error)
    original = getattr(error, "orig", None)  # SQLAlchemy wraps the driver's
    if isinstance(error, sqlite3.Error):
        return _from_sqlite_error(error)
    if isinstance(original, sqlite3.Error):
        return _from_sqlite_error(original)
    return None


def _from_os_error(error: OSError) -> TaxferryError | None:
    where = error.filename if error.filename is not None else ""
    name = os.fsdecode(where) if isinstance(where, str | bytes) else str(where)
    if name.endswith(TEMPORARY_SUFFIX):
        name = os.path.dirname(name)  # a name of ours that says nothing to anybody: the folder is what was meant
    if error.errno in _FULL:
        return StorageFull(name=name or "?")
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(name=name or "?")
    if error.errno == errno.EROFS:
        return MediumReadOnly(name=name or "?")
    if error.errno in _GONE:
        return MediumDamaged(reason=os_reason(error))
    if error.errno == errno.ENOENT and name:
        return FileMissing(what=name)
    if name:
        why = os_reason(error)
        return ConfigurationError(reason=Text(f"{name}（{why.zh}）", f"{name} ({why.en})"))
    return None


def _from_sqlite_error(error: sqlite3.Error) -> TaxferryError | None:
    primary = getattr(error, "sqlite_errorcode", 0) & _SQLITE_PRIMARY
    reason = str(error)[:200]
    if primary == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        # The second is what a reader meets first: there is no room for the index of the log.
        return StorageFull(name=_STATION_DATA)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return AccessDenied(name=reason)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StationBusy(home=reason)
    if primary == sqlite3.SQLITE_IOERR:
        return MediumDamaged(reason=Text(f"本站的数据文件读写出错（{reason}）", f"this station's data files: {reason}"))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(reason=reason)
    return None


def add_standard_verbs(program: Program) -> None:
    """Declare the verbs that every program has and that need no state: `verify` and `explain`."""

    @program.verb(
        "verify",
        Text(
            "验证报税文件、结果、清卡回执或信任文件\n\n不需要初始化。给出 --trust 时一并验证证书链。",
            "prove a report, result, clear receipt or trust file\n\nNeeds no state. With --trust, the chain is proven too.",
        ),
        argument("file", type=FILE, help=Text("要验证的文件", "the file to prove")),
        option(
            "--trust",
            type=FILE,
            metavar="FILE",
            help=Text("税局根证书（PEM）或信任文件", "the bureau's root certificate (PEM), or a trust file"),
        ),
    )
    def verify(context: Context, file: Path, trust: Path | None) -> Outcome:
        return _verify(file, trust)

    @program.verb(
        "explain",
        Text(
            "解释错误号：原因、由谁处理、能否重发、处理步骤",
            "explain a code: cause, who must act, may I send again, remedy",
        ),
        argument(
            "code",
            nargs=-1,
            required=True,
            metavar="CODE",
            help=Text(
                "如 271D、0x8204000D、B2201、Y，或“锁死”等文字", "271D, 0x8204000D, B2201, Y, or words such as 'locked'"
            ),
        ),
    )
    def explain(context: Context, code: tuple[str, ...]) -> Outcome:
        return _explain(code)


def _verify(file: Path, trust: Path | None) -> Outcome:
    from shared.clock import SystemClock
    from shared.verify import load_trust, verify_file

    now = SystemClock().now()
    found = verify_file(file, None if trust is None else load_trust(trust, at=now), now)
    kind = _KINDS[found.kind]
    chain = (
        Text("证书链已验证到给出的根证书", "the chain leads to the given root")
        if found.checked_chain
        else Text("证书链没有验证", "the chain was not checked")
    )
    return Outcome(
        {
            "file": str(file),
            "kind": found.kind,
            "valid": found.valid,
            "signer": dict(found.signer),
            "header": dict(found.header),
            "checked_chain": found.checked_chain,
            "notes": [str(note) for note in found.warnings],
        },
        [
            Text(
                f"{file.name}：{kind.zh}，完整，签名有效；{chain.zh}",
                f"{file.name}: {kind.en}, whole, the signature is valid; {chain.en}",
            ),
            Text("签发者：", "signer:"),
            *_facts(found.signer),
            Text("内容：", "content:"),
            *_facts(found.header),
            # Notes, not warnings: what was asked for is done, and `checked_chain` says how far it went.
            *(Text(f"提示：{note.zh}", f"note: {note.en}") for note in found.warnings),
        ],
    )


def _facts(facts: Mapping[str, object]) -> Iterator[Text]:
    """Yield a line for each fact that has a plain value; lists of fingerprints are for `--json`."""
    for key, value in facts.items():
        if isinstance(value, str | int) and value != "":
            label, words = _LABELS.get(key, Text(key, key)), _value(key, value)
            yield Text(f"  {label.zh}：{words.zh}", f"  {label.en}: {words.en}")


def _value(key: str, value: str | int) -> Text:
    """Return a fact's value as people say it; what is no word of ours stays as it is."""
    text = str(value)
    if key in _TIMES:
        with contextlib.suppress(ValueError):
            return both(readable_time(parse_time(text)))
    return _VALUES.get((key, text), both(text))


_TIMES: Final = frozenset(
    {"not_before", "not_after", "signing_time", "received_at", "bureau_time", "cleared_at", "issued_at"}
)
_VALUES: Final[Mapping[tuple[str, str], Text]] = {
    ("role", "card"): Text("金税卡签名", "tax card"),
    ("role", "bureau-result"): Text("税局结果签名", "the bureau's results"),
    ("role", "bureau-envelope"): Text("税局数字信封", "the bureau's envelopes"),
    ("role", "trust"): Text("信任文件签名", "trust files"),
    ("role", "station"): Text("企业密钥（U棒）", "enterprise key"),
    ("kind", "period"): Text("征期", "period"),
    ("kind", "adhoc"): Text("非征期", "ad hoc"),
    ("outcome", "success"): Text("报税成功", "success"),
    ("outcome", "failure"): Text("报税失败", "failure"),
}


_LABELS: Final[Mapping[str, Text]] = {
    key: Text(zh, key.replace("_", " "))
    for key, zh in {
        "subject": "名称",
        "role": "用途",
        "fingerprint": "证书指纹",
        "not_before": "有效期起",
        "not_after": "有效期止",
        "taxpayer_id": "税号",
        "machine_no": "分机号",
        "card_no": "卡号",
        "stamp": "抄税时间",
        "kind": "类别",
        "period_start": "所属期起",
        "period_end": "所属期止",
        "sequence": "抄税序号",
        "nonce": "清卡随机数",
        "report_digest": "报告摘要",
        "invoice_count": "发票份数",
        "content_sha256": "内容摘要",
        "content_bytes": "内容字节",
        "size_bytes": "文件字节",
        "signing_time": "签名时间",
        "format": "格式",
        "suite": "算法",
        "receipt_no": "受理回执",
        "received_at": "受理时间",
        "result_no": "结果序号",
        "last_acknowledged": "上次清卡回执",
        "outcome": "结果",
        "code": "错误号",
        "message": "说明",
        "bureau_time": "税局时间",
        "lock_date": "锁死日期",
        "body_sha256": "正文摘要",
        "result_sha256": "结果摘要",
        "cleared_at": "清卡时间",
        "version": "版本",
        "issued_at": "签发时间",
        "roots_in_force": "有效的根证书",
        "revocation_lists": "吊销列表",
    }.items()
}


_KINDS: Final = {
    "report": Text("报税文件", "a report"),
    "result": Text("报税结果", "a result"),
    "ack": Text("清卡回执", "a clear receipt"),
    "trust": Text("信任文件", "a trust file"),
    "receipt": Text("受理回执", "an upload receipt"),
}


def _explain(words: Sequence[str]) -> Outcome:
    """Explain what was typed: words of one message together, or else several codes, each by itself."""
    from shared import faults

    query = " ".join(words)
    matches = faults.search(query)
    if not matches:
        # Words that mention nothing together would each mention far too much: only codes are taken one by one.
        each = {word: faults.search(word) if any(map(str.isdigit, word)) else [] for word in words}
        unknown = [word for word, found in each.items() if not found]
        if unknown:
            raise CodeUnknown(what=" ".join(unknown))
        matches = [m for found in each.values() for m in found]
    return Outcome(
        {"query": query, "items": [faults.as_json(m) for m in matches]},
        [line for m in matches for line in faults.describe(m)],
    )

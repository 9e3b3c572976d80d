"""A prompt for SQL: statements over several lines up to a semicolon, completion, history, and a few commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain.errors import NegawattError
from negawatt.sql_charts import chart_of, in_terminal, write_chart
from negawatt.sql_desk import Answer, Desk
from negawatt.sql_output import people, show, write
from negawatt.sql_statements import StatementError, parameters_of, split, tokens

HELP = r"""\d              tables and views            \d NAME         columns of one
\timing         time taken, on or off       \x              a row a page, on or off
\o FILE         next answer into FILE       \plot [FILE]    draw the last answer, or write it (.svg, .html)
\set NAME VALUE value of :NAME              \set            the values so far
\?              this                        \q              leave (or Ctrl-D)
A statement ends with a semicolon and may take several lines. FILE ends with .csv, .json or .parquet."""

_WORDS = """
SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET JOIN LEFT ON AS AND OR NOT IN BETWEEN LIKE IS NULL CASE WHEN THEN
ELSE END WITH UNION ALL DISTINCT ASC DESC EXPLAIN SHOW CAST COALESCE NULLIF COUNT SUM AVG MIN MAX STDDEV ABS ROUND
FLOOR CEIL EXTRACT DATE_TRUNC DATEDIFF TIMESTAMP INTERVAL OVER PARTITION ROW_NUMBER RANK LAG DOUBLE BIGINT INTEGER
TEXT
"""
KEYWORDS = tuple(_WORDS.split())
COMMANDS = ("\\d", "\\timing", "\\x", "\\o", "\\plot", "\\set", "\\?", "\\q")


class Names(Completer):
    """Completes keywords, the names of tables and columns, and backslash commands.

    Parameters
    ----------
    columns : callable
        Gives every table with its columns; asked once, at the first completion.
    """

    def __init__(self, columns: Callable[[], dict[str, dict[str, str]]]) -> None:
        self._ask = columns
        self._known: dict[str, dict[str, str]] | None = None

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand here, given the letters before the cursor."""
        text = document.text_before_cursor
        if text.startswith("\\") and " " not in text:
            yield from (Completion(name, -len(text)) for name in COMMANDS if name.startswith(text))
            return
        start = document.get_word_before_cursor(pattern=None)
        if not start.strip():
            return
        tables = self._tables()
        of_table = text[: -len(start)].rstrip().upper().endswith(("FROM", "JOIN", "\\D"))
        columns = {column: f"column of {table}" for table, names in tables.items() for column in names}
        words = dict.fromkeys(tables, "table") if of_table else dict.fromkeys(tables, "table") | columns
        for name, about in sorted(words.items()):
            if name.lower().startswith(start.lower()):
                yield Completion(name, -len(start), display_meta=about)
        if not of_table:
            for word in KEYWORDS:
                if word.startswith(start.upper()):
                    yield Completion(word if start[0].isupper() else word.lower(), -len(start))

    def _tables(self) -> dict[str, dict[str, str]]:
        if self._known is None:
            try:
                self._known = self._ask()
            except NegawattError:  # the store is in use, or away: keywords are completed all the same
                return {}
        return self._known


class Prompt:
    """What is typed, line by line, and what comes of it.

    Parameters
    ----------
    desk : Desk
    console : Console
        Where answers are printed.
    values : dict of str to str
        Parameters that are set from the start.
    """

    def __init__(self, desk: Desk, console: Console, values: dict[str, str] | None = None) -> None:
        self._desk, self._console = desk, console
        self._values = dict(values or {})
        self._timing, self._expanded = True, False
        self._into: Path | None = None
        self._last: Answer | None = None

    def take(self, text: str) -> bool:
        """Do what was typed; False when that was to leave."""
        try:
            if text.strip().startswith("\\"):
                return self._command(text.strip())
            for statement in split(text):
                self._answer(statement)
        except NegawattError as error:
            self._console.print(f"[red]error: {escape(str(error))}[/]", soft_wrap=True)
        except KeyboardInterrupt:
            self._console.print("broken off")
        return True

    def _answer(self, statement: str) -> None:
        names = parameters_of(statement)
        self._last = self._desk.ask(statement, {n: v for n, v in self._values.items() if n in names})
        if self._into:
            path, self._into = self._into, None
            write(self._last, path)
            self._say(f"{path}: {self._last.table.num_rows:,} rows")
        else:
            show(self._console, self._last, expanded=self._expanded, timing=self._timing)

    def _command(self, text: str) -> bool:
        try:
            name, *words = shlex.split(text.replace("\\", "\\\\", 1).rstrip(";"))
        except ValueError as broken:
            raise StatementError(f"{text}: {broken}") from broken
        match name, words:
            case ("\\q", []):
                return False
            case ("\\?", []):
                self._say(HELP)
            case ("\\d", []):
                self._tables()
            case ("\\d", [table]):
                self._columns(table)
            case ("\\plot", []):
                chart = chart_of(self._given())
                self._console.print(in_terminal(chart, min(self._console.width, 120)), soft_wrap=True)
            case ("\\plot", [path]):
                write_chart(chart_of(self._given()), Path(path))
                self._say(path)
            case _:
                self._switch(text, name, words)
        return True

    def _switch(self, text: str, name: str, words: list[str]) -> None:
        """The commands that change what the next statements do."""
        match name, words:
            case ("\\timing", []):
                self._timing = not self._timing
                self._say(f"timing is {'on' if self._timing else 'off'}")
            case ("\\x", []):
                self._expanded = not self._expanded
                self._say(f"a row a page is {'on' if self._expanded else 'off'}")
            case ("\\o", [path]):
                self._into = Path(path)
            case ("\\set", []):
                self._say("\n".join(f":{key} = {value}" for key, value in self._values.items()) or "none are set")
            case ("\\set", [key, *value]) if value:
                self._values[key] = " ".join(value)
            case _:
                raise StatementError(f"{text} is not understood; \\? lists what is")

    def _given(self) -> Answer:
        if self._last is None:
            raise StatementError("nothing to draw yet: ask something first")
        return self._last

    def _tables(self) -> None:
        table = Table("name", "columns")
        for name, columns in self._desk.columns().items():
            table.add_row(escape(name), escape(", ".join(columns)))
        self._console.print(table)

    def _columns(self, name: str) -> None:
        known = self._desk.columns()
        if name not in known:
            raise StatementError(f"no table {name}; there are: {', '.join(known) or 'none yet'}")
        table = Table("column", "type")
        for column, kind in known[name].items():
            table.add_row(escape(column), escape(kind))
        self._console.print(table)

    def _say(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)


def is_whole(text: str) -> bool:
    """Whether what was typed can be run: a command, a statement up to its semicolon, or nothing.

    >>> is_whole("SELECT 1"), is_whole("SELECT ';'"), is_whole("SELECT 1;"), is_whole("\\\\d")
    (False, False, True, True)
    """
    if not text.strip() or text.strip().startswith("\\"):
        return True
    try:
        return tokens(text)[-1].text == ";"
    except StatementError:  # a string that is still open
        return False
    except IndexError:  # nothing but a comment
        return False


def run_prompt(
    desk: Desk,
    history: Path,
    values: dict[str, str] | None = None,
    *,
    typed: Input | None = None,
    shown: Output | None = None,
    console: Console | None = None,
) -> None:
    """Read, ask and print until told to leave.

    Parameters
    ----------
    desk : Desk
    history : Path
        File of what was typed before.
    values : dict of str to str, optional
        Parameters that are set from the start.
    typed, shown, console : optional
        Other ends than the terminal.
    """
    history.parent.mkdir(parents=True, exist_ok=True)
    keys = KeyBindings()

    @keys.add("enter", filter=Condition(lambda: is_whole(session.default_buffer.text)))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    session: PromptSession[str] = PromptSession(
        "negawatt> ",
        multiline=True,
        prompt_continuation="       -> ",
        key_bindings=keys,
        completer=Names(desk.columns),
        complete_while_typing=False,
        history=FileHistory(str(history)),
        input=typed,
        output=shown,
    )
    prompt = Prompt(desk, console or people(), values)
    while True:
        try:
            if not prompt.take(session.prompt()):
                return
        except KeyboardInterrupt:  # Ctrl-C at the prompt clears what was typed
            continue
        except EOFError:
            return

"""SQL as text: its words, its statements, whether one only reads, its row limit and its parameters.

This is no parser. It knows what is a string, a quoted name or a comment, and refuses what it can't be sure of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.errors import NegawattError

READS = ("SELECT", "WITH", "EXPLAIN", "SHOW")
"""How a statement may begin."""

CHANGES = frozenset(("ALTER", "CREATE", "DELETE", "DROP", "INSERT", "INTO", "MERGE", "TRUNCATE", "UPDATE"))
"""Words that change something wherever they stand; a column of such a name goes in double quotes."""

_PLAN_WORDS = frozenset(("ANALYZE", "CALCITE", "DETAILED", "OPTIMIZED", "PLAN", "VERBOSE"))

_TOKENS = re.compile(
    r"""(?P<space>\s+)
    | (?P<comment>--[^\r\n]*|/\*.*?\*/)
    | (?P<text>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<parameter>(?<!:):[A-Za-z_]\w*)
    | (?P<mark>.)""",
    re.DOTALL | re.VERBOSE,
)


class StatementError(NegawattError):
    """A statement isn't run: it would change something, or can't be read with certainty."""


@dataclass(frozen=True)
class Token:
    """A piece of a statement: its kind, its text, and where it begins."""

    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """The word in capitals; empty for everything that is none."""
        return self.text.upper() if self.kind == "word" else ""


def tokens(sql: str) -> list[Token]:
    """The pieces of a text, without white space and comments.

    Raises
    ------
    StatementError
        A string, a quoted name or a comment that is never closed, or a form of string that the two stores read
        differently.

    Examples
    --------
    >>> [token.text for token in tokens("SELECT 'a;b' -- no ;")]
    ['SELECT', "'a;b'"]
    """
    found: list[Token] = []
    for match in _TOKENS.finditer(sql):
        kind, text = match.lastgroup or "", match.group()
        if kind in ("space", "comment"):
            continue
        line = sql.count("\n", 0, match.start()) + 1
        if text in ("'", '"'):
            raise StatementError(f"line {line}: the quote {text} is never closed")
        if text == "/" and sql.startswith("*", match.end()):
            raise StatementError(f"line {line}: the comment /* is never closed")
        if text == "$":
            raise StatementError(f"line {line}: $ is not understood; write strings as 'text', parameters as :name")
        if kind == "text" and found and found[-1].word == "E" and found[-1].at + 1 == match.start():
            raise StatementError(f"line {line}: strings with backslashes (E'…') are not understood; write 'it''s'")
        found.append(Token(kind, text, match.start()))
    return found


def split(sql: str) -> list[str]:
    """The statements of a text, in order, without the semicolons between them; empty ones are left out.

    >>> split("SELECT ';' ; -- a comment\\n SHOW TABLES;")
    ["SELECT ';'", '-- a comment\\n SHOW TABLES']
    """
    pieces = tokens(sql)
    edges = [token.at for token in pieces if token.text == ";"]
    bounds = zip([0, *(at + 1 for at in edges)], [*edges, len(sql)], strict=True)
    return [sql[a:b].strip() for a, b in bounds if any(a <= t.at < b for t in pieces)]


def check_reads_only(statement: str) -> None:
    """Make sure that a statement changes nothing.

    Raises
    ------
    StatementError
        It is several statements, or doesn't begin as a query does, or holds a word that changes something.

    Examples
    --------
    >>> check_reads_only("SELECT 1; DROP TABLE meters")
    Traceback (most recent call last):
    ...
    negawatt.sql_statements.StatementError: 2 statements at once: one is run at a time, so that what is run is seen
    """
    parts = split(statement)
    if len(parts) != 1:
        raise StatementError(f"{len(parts)} statements at once: one is run at a time, so that what is run is seen")
    pieces = [token for token in tokens(statement) if token.text != ";"]
    first = _first_word(pieces)
    if first not in READS:
        raise StatementError(
            f"{first or pieces[0].text} is refused: only queries are run here, and they begin with {_either(READS)}"
        )
    if first == "EXPLAIN":
        rest = pieces[1:]
        while rest and rest[0].word in _PLAN_WORDS:
            rest = rest[1:]
        if (explained := _first_word(rest)) not in ("SELECT", "WITH"):
            raise StatementError(f"EXPLAIN {explained or 'of nothing'} is refused: only queries can be explained")
    body = pieces[2:] if first == "SHOW" and [t.word for t in pieces[1:2]] == ["CREATE"] else pieces
    after_dot = {n for n, token in enumerate(body, 1) if token.text == "."}
    for n, token in enumerate(body):
        if token.word in CHANGES and n not in after_dot:
            raise StatementError(
                f'{token.word} is refused: queries only read. If it is the name of a column, write "{token.text}"'
            )


def _first_word(pieces: Sequence[Token]) -> str:
    """The first word, past opening brackets."""
    return next((token.word for token in pieces if token.text != "("), "")


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def limited(statement: str, rows: int) -> str:
    """The query with a LIMIT of at most ``rows``; EXPLAIN and SHOW as they are.

    Raises
    ------
    StatementError
        Its own LIMIT is no number.

    Examples
    --------
    >>> limited("SELECT a FROM t LIMIT 7", 10), limited("SELECT a FROM t LIMIT 70", 10)
    ('SELECT a FROM t LIMIT 7', 'SELECT a FROM t LIMIT 10')
    >>> limited("SELECT a FROM t OFFSET 3 -- skip", 10)
    'SELECT a FROM t LIMIT 10 OFFSET 3 -- skip'
    """
    pieces, depth, outer = tokens(statement), 0, []
    for n, token in enumerate(pieces):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0:
            outer.append((n, token))
    if _first_word(pieces) not in ("SELECT", "WITH"):
        return statement
    for n, token in outer:
        if token.word == "FETCH":
            raise StatementError("FETCH is not understood; write LIMIT and a number")
        if token.word == "LIMIT":
            own = pieces[n + 1] if n + 1 < len(pieces) else token
            if not own.text.isdigit():
                raise StatementError(f"LIMIT {own.text}: expected a number")
            least = min(int(own.text), rows)
            return statement[: own.at] + str(least) + statement[own.at + len(own.text) :]
    for _, token in outer:
        if token.word == "OFFSET":
            return f"{statement[: token.at]}LIMIT {rows} {statement[token.at :]}"
    return f"{statement}\nLIMIT {rows}"


# --- parameters ----------------------------------------------------------------------------------

KINDS = ("timestamp", "text", "integer", "hours")
"""Kinds of parameters; ``hours`` becomes an interval."""
_DECLARED = re.compile(r"^-- :(?P<name>\w+) (?P<kind>\w+)(?: = (?P<given>\S+))? +(?P<about>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """A parameter that a file of SQL declares: ``-- :name kind [= default]  what it is``."""

    name: str
    kind: str
    default: str | None
    about: str


def declared(sql: str) -> list[Parameter]:
    """The parameters that the comments of a text declare.

    >>> declared("-- :minutes integer = 5  Length of the intervals. [min]")
    [Parameter(name='minutes', kind='integer', default='5', about='Length of the intervals. [min]')]
    """
    found = [Parameter(m["name"], m["kind"], m["given"], m["about"]) for m in _DECLARED.finditer(sql)]
    for parameter in found:
        if parameter.kind not in KINDS:
            raise StatementError(f"parameter {parameter.name}: {parameter.kind}: expected {_either(KINDS)}")
    return found


def parameters_of(sql: str) -> set[str]:
    """Names of the parameters that a text uses.

    >>> sorted(parameters_of("SELECT :a, ':b', :a + :c"))
    ['a', 'c']
    """
    return {token.text[1:] for token in tokens(sql) if token.kind == "parameter"}


def with_parameters(sql: str, values: Mapping[str, str]) -> str:
    """Write values in place of ``:name``, as literals of their kind.

    A kind is as declared in a comment; else a whole number or a time is taken for what it looks like. Times
    without an offset are UTC. Values that the text doesn't use are left alone.

    Raises
    ------
    StatementError
        A parameter without a value, or a value that is not of its kind.

    Examples
    --------
    >>> with_parameters("SELECT * FROM t WHERE ts >= :from AND name = :who",
    ...                 {"from": "2025-07-30T17:00+09:00", "who": "O'Neill"})
    "SELECT * FROM t WHERE ts >= TIMESTAMP '2025-07-30 08:00:00' AND name = 'O''Neill'"
    """
    known = {parameter.name: parameter for parameter in declared(sql)}
    wanted = [token for token in tokens(sql) if token.kind == "parameter"]
    names = {token.text[1:] for token in wanted}
    given = {name: parameter.default for name, parameter in known.items() if parameter.default} | dict(values)
    if missing := sorted(names - set(given)):
        about = [f"{name} ({known[name].kind}: {known[name].about})" if name in known else name for name in missing]
        raise StatementError(f"no value for {', '.join(about)}; give it by -p {missing[0]}=VALUE")
    for token in reversed(wanted):
        name = token.text[1:]
        literal = _literal(name, str(given[name]), known[name].kind if name in known else None)
        sql = sql[: token.at] + literal + sql[token.at + len(token.text) :]
    return sql


def _literal(name: str, value: str, kind: str | None) -> str:
    is_whole = re.fullmatch(r"-?\d+", value) is not None
    if kind == "integer" or (kind is None and is_whole):
        if not is_whole:
            raise StatementError(f"parameter {name}: {value!r}: expected a whole number")
        return value
    if kind == "hours":
        if not is_whole:
            raise StatementError(f"parameter {name}: {value!r}: expected whole hours, such as 9 or -5")
        return f"INTERVAL '{value}' HOUR"
    if kind != "text":
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as wrong:
            if kind is None:
                return _text(value)
            raise StatementError(f"parameter {name}: {value!r}: expected a time as 2025-07-30T08:00:00Z") from wrong
        utc = moment.astimezone(UTC) if moment.tzinfo else moment
        return f"TIMESTAMP '{utc:%Y-%m-%d %H:%M:%S}'"
    return _text(value)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"

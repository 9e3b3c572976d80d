"""Statements that sqlglot doesn't read: definitions of tables and views with HeavyDB's own options, and SHOW."""

from __future__ import annotations

from dataclasses import replace
from typing import Never

from sqlglot import Token, TokenType

from infra.heavydb.dialect import refuse_reserved, tokenize
from infra.heavydb.errors import SqlError, StatementError, UnsupportedError
from infra.heavydb.sql_types import SqlType, encode, make_type
from infra.heavydb.statements import (
    AddColumns,
    CreateTable,
    CreateView,
    Definition,
    Drop,
    DropColumn,
    Explain,
    Optimize,
    Rename,
    Run,
    Show,
    Truncate,
)

_NUMBERS = ("FRAGMENT_SIZE", "MAX_ROLLBACK_EPOCHS", "MAX_ROWS", "PAGE_SIZE", "SHARD_COUNT")
_WORDS = ("PARTITIONS", "SORT_COLUMN", "VACUUM")
DEFAULTS: dict[str, int] = {"FRAGMENT_SIZE": 32_000_000, "MAX_ROWS": 2**62, "PAGE_SIZE": 2_097_152, "SHARD_COUNT": 0}
_NO_COLUMN = ("PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "CONSTRAINT")
_ELSEWHERE = (
    "ARCHIVE", "COMMENT", "COPY", "GRANT", "KILL", "REFRESH", "RESTORE", "REVOKE", "SET", "VALIDATE", "DUMP",
)  # fmt: skip


def read(sql: str) -> Definition:
    """What a statement is, and what it says, if it is one of those above.

    Raises
    ------
    StatementError
        HeavyDB doesn't know it, or the stand-in doesn't.

    Examples
    --------
    >>> made = read("CREATE TABLE t (ts TIMESTAMP(0) ENCODING FIXED(32), wh INTEGER) WITH (fragment_size=1000)")
    >>> [(name, kind.declared) for name, kind in made.columns]
    [('ts', 'TIMESTAMP(0) ENCODING FIXED(32)'), ('wh', 'INTEGER')]
    >>> made.options
    {'FRAGMENT_SIZE': 1000}
    """
    words = _Words(sql, tokenize(sql))
    if words.upper in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "("):
        return Run(sql)
    begun = words.skip(*_READERS)
    if begun:
        return words.last(_READERS[begun](words))
    if words.upper == "MERGE":
        raise StatementError("Unsupported logical modify operation encountered MERGE")
    if words.upper in _ELSEWHERE:
        raise UnsupportedError(f"the statement {words.upper}")
    raise SqlError("Non-query expression encountered in illegal context")


class _Words:
    """The words of a statement, taken one after the other."""

    def __init__(self, sql: str, tokens: list[Token]) -> None:
        self._sql, self._tokens, self._at = sql, tokens, 0

    @property
    def token(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    @property
    def upper(self) -> str:
        """The next word in capitals; nothing for a string or a quoted name."""
        token = self.token
        if token is None or token.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
            return ""
        return token.text.upper()

    def skip(self, *any_of: str) -> str:
        """Take the next word if it is one of these; returns it, or nothing."""
        found = self.upper
        if found and found in any_of:
            self._at += 1
            return found
        return ""

    def skip_all(self, *all_of: str) -> bool:
        """Take these words if they come next."""
        coming = [token.text.upper() for token in self._tokens[self._at : self._at + len(all_of)]]
        if coming != list(all_of):
            return False
        self._at += len(all_of)
        return True

    def need(self, word: str) -> None:
        if not self.skip(word):
            self.stumble()

    def stumble(self) -> Never:
        token = self.token
        if token is None:
            raise SqlError('Encountered "<EOF>": the statement isn\'t finished')
        raise SqlError(f'Encountered "{token.text}" at line {token.line}, column {token.col}')

    def name(self) -> str:
        """A name of a table or column."""
        token = self.token
        if token is None or token.token_type in (TokenType.STRING, TokenType.NUMBER):
            self.stumble()
        if token.token_type is not TokenType.IDENTIFIER and not token.text.replace("_", "a").isalnum():
            self.stumble()
        if token.token_type is not TokenType.IDENTIFIER:
            refuse_reserved(token.text)
        self._at += 1
        return token.text

    def word(self) -> str:
        """A word of the language, e.g. a type."""
        token = self.token
        if token is None or not token.text.isalpha():
            self.stumble()
        self._at += 1
        return token.text

    def number(self) -> int:
        token = self.token
        if token is None or token.token_type is not TokenType.NUMBER or not token.text.isdigit():
            self.stumble()
        self._at += 1
        return int(token.text)

    def value(self) -> str:
        """A string or a number, as an option has it."""
        token = self.token
        if token is None or token.token_type not in (TokenType.STRING, TokenType.NUMBER):
            self.stumble()
        self._at += 1
        return token.text

    def rest(self) -> str:
        """The text from here on."""
        token = self.token
        if token is None:
            self.stumble()
        self._at = len(self._tokens)
        return self._sql[token.start :].strip().rstrip(";")

    def until_options(self) -> str:
        """The text up to WITH (…) at the end, if the statement ends so."""
        if self._tokens[-1].text == ")":
            opening = max(at for at, token in enumerate(self._tokens) if token.text == "(")
            if self._tokens[opening - 1].text.upper() == "WITH" and self._at < opening - 1:
                start, end = self._tokens[self._at].start, self._tokens[opening - 1].start
                self._at = opening - 1
                return self._sql[start:end]
        return self.rest()

    def last(self, made: Definition) -> Definition:
        """The statement, if nothing is left of it."""
        if self.token is not None:
            self.stumble()
        return made


def _if_not_exists(words: _Words) -> bool:
    return words.skip_all("IF", "NOT", "EXISTS")


def _create(words: _Words) -> Definition:
    if words.skip("VIEW"):
        if_not_exists, name = _if_not_exists(words), words.name()
        words.need("AS")
        return CreateView(name, if_not_exists, words.rest())
    if words.skip("TABLE"):
        return _create_table(words)
    if words.upper in ("TEMPORARY", "FOREIGN", "USER", "ROLE", "DATABASE", "DATAFRAME", "SERVER", "MODEL", "POLICY"):
        raise UnsupportedError(f"CREATE {words.upper}")
    if words.skip("OR"):
        words.need("REPLACE")
    words.stumble()


def _create_table(words: _Words) -> Definition:
    if_not_exists, name = _if_not_exists(words), words.name()
    if words.skip("AS"):
        query = words.until_options()
        return CreateTable(name, if_not_exists, options=_options(words), query=query)
    words.need("(")
    columns, shard_key = list[tuple[str, SqlType]](), ""
    while True:
        if words.upper in _NO_COLUMN:
            words.stumble()
        if words.skip_all("SHARED", "DICTIONARY"):
            raise UnsupportedError("SHARED DICTIONARY")
        if words.skip_all("SHARD", "KEY"):
            words.need("(")
            shard_key = words.name()
            words.need(")")
        else:
            columns.append(_column(words))
        if not words.skip(","):
            break
    words.need(")")
    return checked(CreateTable(name, if_not_exists, columns, shard_key, _options(words)))


def checked(made: CreateTable) -> CreateTable:
    """A table's definition, if its parts fit each other; the shard key is spelt as the column is.

    Raises
    ------
    StatementError
        They don't.
    """
    names = [name.lower() for name, _ in made.columns]
    for name in names:
        if names.count(name) > 1:
            raise StatementError(f"Column '{name}' defined more than once")
    if made.shard_key:
        if made.shard_key.lower() not in names:
            raise StatementError(f"Specified shard column {made.shard_key} doesn't exist")
        if not made.options.get("SHARD_COUNT"):
            raise StatementError("Must specify the number of shards through the SHARD_COUNT option")
        made = replace(made, shard_key=made.columns[names.index(made.shard_key.lower())][0])
    elif made.options.get("SHARD_COUNT"):
        raise StatementError("SHARD_COUNT needs a SHARD KEY")
    sort_column = made.options.get("SORT_COLUMN")
    if sort_column and not made.query and str(sort_column).lower() not in names:
        raise StatementError(f"Specified sort column {sort_column} doesn't exist")
    return made


def _column(words: _Words) -> tuple[str, SqlType]:
    name = words.name()
    spelt, numbers = words.word(), list[int]()
    if words.skip("("):
        numbers.append(words.number())
        while words.skip(","):
            numbers.append(words.number())
        words.need(")")
    if words.upper == "[":
        raise UnsupportedError("arrays")
    kind = make_type(spelt, numbers)
    if words.skip_all("NOT", "NULL"):
        kind = replace(kind, nullable=False)
    if words.skip("ENCODING"):
        encoding, width = words.word().upper(), None
        if words.skip("("):
            width = words.number()
            words.need(")")
        kind = encode(kind, encoding, width)
    elif kind.kind == "DATE":
        kind = encode(kind, "DAYS", 32)
    if words.upper == "DEFAULT":
        raise UnsupportedError("DEFAULT values")
    return name, kind


def _options(words: _Words) -> dict[str, int | str]:
    options: dict[str, int | str] = {}
    if not words.skip("WITH"):
        return options
    words.need("(")
    while True:
        name = words.name().upper()
        words.need("=")
        value = words.value()
        if name in _NUMBERS:
            if not value.isdigit():
                raise StatementError(f"{name} must be a whole number, not {value!r}")
            options[name] = int(value)
        elif name in _WORDS:
            options[name] = value
        else:
            known = ", ".join(sorted((*_NUMBERS, *_WORDS)))
            raise StatementError(f"Invalid CREATE TABLE option {name}. Should be one of: {known}")
        if not words.skip(","):
            break
    words.need(")")
    return options


def _drop(words: _Words) -> Definition:
    kind = words.skip("TABLE", "VIEW")
    if not kind:
        raise UnsupportedError(f"DROP {words.upper}")
    if_exists = words.skip_all("IF", "EXISTS")
    return Drop(kind, words.name(), if_exists)


def _alter(words: _Words) -> Definition:
    words.need("TABLE")
    name = words.name()
    if words.skip("ADD"):
        words.skip("COLUMN")
        columns = list[tuple[str, SqlType]]()
        many = words.skip("(")
        columns.append(_column(words))
        while many and words.skip(","):
            columns.append(_column(words))
        if many:
            words.need(")")
        return AddColumns(name, columns)
    if words.skip("DROP"):
        words.skip("COLUMN")
        return DropColumn(name, words.name())
    if words.skip("RENAME"):
        if words.skip("COLUMN"):
            column = words.name()
            words.need("TO")
            return Rename(name, words.name(), column)
        words.need("TO")
        return Rename(name, words.name())
    raise UnsupportedError(f"ALTER TABLE … {words.upper}")


def _optimize(words: _Words) -> Definition:
    words.need("TABLE")
    made = Optimize(words.name())
    if words.skip("WITH"):
        words.need("(")
        words.need("VACUUM")
        words.need("=")
        words.value()
        words.need(")")
    return made


def _show(words: _Words) -> Definition:
    if words.skip("TABLES"):
        return Show("TABLES")
    if words.skip("DATABASES"):
        return Show("DATABASES")
    if words.skip("CREATE"):
        words.need("TABLE")
        return Show("CREATE TABLE", words.name())
    raise UnsupportedError(f"SHOW {words.upper}")


def _truncate(words: _Words) -> Definition:
    words.need("TABLE")
    return Truncate(words.name())


def _explain(words: _Words) -> Definition:
    words.skip("CALCITE", "PLAN")
    words.skip("DETAILED")
    return Explain(words.rest())


_READERS = {
    "CREATE": _create,
    "DROP": _drop,
    "ALTER": _alter,
    "TRUNCATE": _truncate,
    "OPTIMIZE": _optimize,
    "SHOW": _show,
    "EXPLAIN": _explain,
}

"""Where a HeavyDB is, who asks, and the password, which is shown nowhere."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from domain.errors import StoreError

DEFAULT_PORT = 6274
SCHEMES = ("heavydb", "mapd", "omnisci")
_PROTOCOLS = ("binary", "http", "https")
_OPTIONS = ("protocol", "password_file", "bin_ca_certs", "bin_cert_validate")
_EXPECTED = "expected heavydb://user@host:6274/database"
_QUOTE = "in a password @, / and : are written %40, %2F and %3A"


@dataclass(frozen=True)
class HeavyDBAddress:
    """A database of a HeavyDB server and how to log in.

    Attributes
    ----------
    protocol : str
        ``binary``, ``http`` or ``https``.
    ca_certs : str
        For TLS under the binary protocol: file of the certificates that are trusted.
    validate : bool or None
        Whether the server's certificate is checked; None: no TLS unless ``ca_certs`` is given.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    protocol: str = "binary"
    ca_certs: str = ""
    validate: bool | None = None

    @classmethod
    def parse(cls, url: str, *, password: str = "", password_file: str = "") -> HeavyDBAddress:
        """Read an address; its own password counts first, then its ``password_file``, then those given.

        Raises
        ------
        StoreError
            It is none, or there is no password. The text never has the password in it.

        Examples
        --------
        >>> address = HeavyDBAddress.parse("mapd://ana:p%40ss@data-1/live?protocol=binary")
        >>> address.url, address.password
        ('heavydb://ana@data-1:6274/live', 'p@ss')
        """
        # What can't be read may have a password anywhere in it, so errors show no part of it.
        try:
            parts = urlsplit(url)
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise StoreError(f"speed store: {_EXPECTED}; its host or port can't be read ({_QUOTE})") from None
        database = unquote(parts.path.strip("/"))
        if parts.scheme not in SCHEMES or not parts.hostname or not parts.username or not database:
            raise StoreError(f"speed store: {_EXPECTED}; host, user or database is missing ({_QUOTE})")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        where = f"heavydb://{unquote(parts.username)}@{parts.hostname}:{port}/{database}"
        if unknown := sorted(set(options) - set(_OPTIONS)):
            raise StoreError(f"{where}: unknown option {', '.join(unknown)}; known: {', '.join(_OPTIONS)}")
        protocol = options.get("protocol", "binary")
        if protocol not in _PROTOCOLS:
            raise StoreError(f"{where}: protocol {protocol!r}: expected one of {', '.join(_PROTOCOLS)}")
        file = options.get("password_file", "")
        found = unquote(parts.password or "") or (_first_line(where, Path(file)) if file else password)
        if not found and password_file:
            found = _first_line(where, Path(password_file))
        if not found:
            raise StoreError(
                f"{where}: no password: set NEGAWATT_SPEED_PASSWORD, or name a file that has it as "
                "speed_password_file"
            )
        checked = options.get("bin_cert_validate")
        return cls(
            parts.hostname,
            port,
            database,
            unquote(parts.username),
            found,
            protocol,
            options.get("bin_ca_certs", ""),
            None if checked is None else checked.lower() not in ("0", "false", "no"),
        )

    @property
    def url(self) -> str:
        """The address without the password."""
        other = "" if self.protocol == "binary" else f"?protocol={self.protocol}"
        return f"heavydb://{self.user}@{self.host}:{self.port}/{self.database}{other}"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _first_line(where: str, file: Path) -> str:
    try:
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise StoreError(f"{where}: {file} can be read by others: `chmod 600 {file}` first")
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as failed:
        raise StoreError(f"{where}: no password from {file}: {failed}") from failed
    if not lines or not lines[0]:
        raise StoreError(f"{where}: {file} has no password in its first line")
    return lines[0]

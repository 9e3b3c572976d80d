"""The speed store in HeavyDB as the store contract sees it: the server's tables are dropped before each use."""

from __future__ import annotations

from stores import SpeedLayer

from speed.heavydb_client import HeavyDBClient
from speed.heavydb_store import HeavyDBStore
from speed.heavydb_url import HeavyDBAddress


def an_empty_store(url: str, **options: float) -> HeavyDBStore:
    """A store in a database without tables; the only one that uses the server at the time."""
    client = HeavyDBClient(HeavyDBAddress.parse(url))
    views = set(client.call("list views", lambda connection: connection._client.get_views(connection._session)))
    for name in [*views, *sorted(client.tables() - views)]:
        client.execute(f"DROP {'VIEW' if name in views else 'TABLE'} IF EXISTS {name}")
    client.close()
    return HeavyDBStore(HeavyDBAddress.parse(url), **options)


class HeavyDBLayer(SpeedLayer):
    """The speed store in HeavyDB."""

    far_days = 4_000  # its times end in January 2038

    def __init__(self, url: str) -> None:
        self.url, self.store = url, an_empty_store(url)

    def reopen(self) -> None:
        self.store.close()
        self.store = HeavyDBStore(HeavyDBAddress.parse(self.url))

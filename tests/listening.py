"""What a process listens on, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path


def listeners(pid: int, *, udp: bool = False) -> set[tuple[str, int]]:
    """Address, in the kernel's hexadecimal, and port of everything that a process listens on."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:  # closed since
            continue
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6") if udp else ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in sockets and (fields[3] == "0A" or table.startswith("udp")):
                address, _, port = fields[1].partition(":")
                found.add((address, int(port, 16)))
    return found

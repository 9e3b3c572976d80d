"""What a piece of work waits for, where it returns instead of standing still."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Waiting:
    """What is waited for, in words, and when it is worth looking again."""

    reason: str
    until: datetime

"""What can go wrong, by name. Callers read the attributes; people read the sentence."""

from __future__ import annotations

from datetime import datetime


class NegawattError(Exception):
    """Root of every error this project raises on purpose.

    ``exit_code`` is what the command line exits with; ``retry_may_help`` says whether the cause may pass by itself.
    """

    exit_code = 1
    retry_may_help = False


class InvalidProgrammeError(NegawattError):
    """A programme file breaks a rule: unknown key, missing key, or a value out of range."""

    def __init__(self, programme: str, path: str, problem: str) -> None:
        self.programme, self.path, self.problem = programme, path, problem
        super().__init__(f"programme {programme!r}: {path}: {problem}")


class InvalidEventError(NegawattError):
    """A DR event can't be what it says: empty window, off the interval grid, no rule for its day."""

    def __init__(self, event: str, problem: str) -> None:
        self.event, self.problem = event, problem
        super().__init__(f"event {event!r}: {problem}")


class UnknownEventError(InvalidEventError):
    """The workspace has no event of this name."""


class EventNotOverError(InvalidEventError):
    """Something was asked that only an event's end can answer."""

    def __init__(self, event: str, end: datetime) -> None:
        self.end = end
        super().__init__(event, f"not over: it ends at {end.isoformat()}; ask again then")


class NoParticipantsError(InvalidEventError):
    """Nobody takes part in an event."""


class NotSettledError(InvalidEventError):
    """An event was not settled yet, or its certification was taken back."""


class IllegalTransitionError(NegawattError):
    """A DR event was asked to make a step that its state doesn't allow."""

    def __init__(self, event: str, have: str, want: str, allowed: tuple[str, ...]) -> None:
        self.event, self.have, self.want, self.allowed = event, have, want, allowed
        then = ", ".join(allowed) or "nothing: it is final"
        super().__init__(f"event {event!r} is {have} and can't become {want}; after {have} comes {then}")


class InvalidReadingsError(NegawattError):
    """A batch of readings breaks its own form: a bug or a foreign producer, not a bad row."""


class TooManyRejectsError(NegawattError):
    """More rows were rejected than the run allows; nothing was stored."""

    exit_code = 3

    def __init__(self, rejected: int, rows: int, limit_pct: float, rejects_file: str) -> None:
        self.rejected, self.rows, self.limit_pct, self.rejects_file = rejected, rows, limit_pct, rejects_file
        share = 100 * rejected / rows if rows else 100.0
        super().__init__(
            f"{rejected:,} of {rows:,} rows rejected ({share:.2f} %), over the limit of {limit_pct:g} %; "
            f"nothing was stored. See {rejects_file}, mend the source, or raise --max-rejects"
        )


class InvalidTradesError(NegawattError):
    """A day's trades can't be what they say: no address, a number out of range, a file that contradicts itself."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what}: {problem}")


class StoreError(NegawattError):
    """A store can't do what was asked: wrong layout, wrong interval, a lost file."""

    retry_may_help = True


class ChainError(NegawattError):
    """The chain, its node or a contract refused; the sentence says which and why."""

    retry_may_help = True


class NonceLostError(ChainError):
    """A transaction can never be mined: its nonce was used by another, so the operator's key is in use elsewhere."""

    def __init__(self, purpose: str, sender: str, nonce: int) -> None:
        self.purpose, self.sender, self.nonce = purpose, sender, nonce
        super().__init__(
            f"{purpose}: nonce {nonce} of {sender} was used by another transaction; is the key in use elsewhere? "
            "Run it again: what is missing is sent anew"
        )


class VerificationError(NegawattError):
    """Published certificates and the chain disagree."""

    exit_code = 4

"""The SQL of the live views: written once, in the part of SQL that DuckDB and HeavyDB run with the same meaning.

Each text is plain sums over a join of baselines with readings. A `Scope` says over which event and until when. Only
numbers, times and names that a scope has checked enter a text.
"""

# ruff: noqa: S608  texts are put together from the constants here and the checked parts of a scope

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domain.errors import StoreError
from domain.readings import Quality, Register
from speed.tables import readings_table

NO_BASELINE, UNADJUSTED, ADJUSTED = "no baseline", "unadjusted", "adjusted"
"""Status of a resource in an event: its history is insufficient; its baseline as history has it; adjusted."""

SPREAD = 2
"""Half the width of a forecast's range, in standard deviations of what is still to come."""

LATENESS_HOURS = 4
"""How far back `lateness_sql` looks. [h]"""


def time_literal(instant: datetime) -> str:
    """A time as SQL text, in UTC and whole seconds.

    >>> time_literal(datetime(2026, 7, 1, 8, 5, tzinfo=UTC))
    "TIMESTAMP '2026-07-01 08:05:00'"
    """
    return f"TIMESTAMP '{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"


def text_literal(text: str) -> str:
    """A text as SQL text.

    >>> text_literal("o'clock")
    "'o''clock'"
    """
    if "\x00" in text:
        raise StoreError("a name with a zero character can't be written in SQL; rename it")
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Scope:
    """What a live query looks at.

    Attributes
    ----------
    now : datetime
        Intervals that end later are left out.
    interval_minutes : int
        Which readings. [min]
    first, last : datetime
        No event within the scope begins earlier or ends later; what lies outside is never read.
    event : str or None
        One event alone; None for all of them.
    least_quality : int
        The least quality that counts in that one event; of all events, the table says which.
    corrected : bool
        Several rows may stand for one reading, as HeavyDB keeps corrections. False reads faster, where it is known
        that there is a row a reading.
    """

    now: datetime
    interval_minutes: int
    first: datetime
    last: datetime
    event: str | None = None
    least_quality: int = 0
    corrected: bool = True

    @property
    def readings(self) -> str:
        """The table of the readings."""
        return readings_table(Register.IMPORT, self.interval_minutes)

    @property
    def until(self) -> datetime:
        """Intervals that start before it count: those that are over by now."""
        return min(self.last, last_due_end(self.now, self.interval_minutes))

    def of_event(self, alias: str) -> str:
        """Condition that rows are of the scope's event."""
        return "1 = 1" if self.event is None else f"{alias}.event = {text_literal(self.event)}"

    def place(self, alias: str) -> str:
        """``place`` of the baseline that a reading belongs to, in the scope's one event."""
        intervals = int((self.last - self.first).total_seconds()) // (60 * self.interval_minutes)
        since = f"DATEDIFF('minute', {time_literal(self.first)}, {alias}.ts)"
        number = f"CAST(FLOOR(CAST({since} AS DOUBLE) / {self.interval_minutes}) AS INTEGER)"
        return f"{alias}.meter * {intervals} + {number}"

    def keys(self, *names: str, of: str = "") -> str:
        """Columns that tell rows apart: the event, where there are several, and ``names``.

        Of one event its name is left out, since texts are slow to group and to join by.
        """
        return ", ".join(f"{of}{name}" for name in self._keys(names))

    def same(self, one: str, other: str, *names: str) -> str:
        """Condition that rows of two aliases have the same keys."""
        return " AND ".join(f"{one}.{name} = {other}.{name}" for name in self._keys(names)) or "1 = 1"

    def _keys(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return names if self.event is not None else ("event", *names)


def last_due_end(now: datetime, minutes: int) -> datetime:
    """End of the last interval that is over.

    >>> last_due_end(datetime(2026, 7, 1, 8, 9, 59, tzinfo=UTC), 5).minute
    5
    """
    return now - timedelta(seconds=now.timestamp() % (60 * minutes))


def current_sql(scope: Scope) -> str:
    """One row a reading that is in force: meter, ts, wh, and its quality."""
    within = f"ts >= {time_literal(scope.first)} AND ts < {time_literal(scope.until)}"
    if not scope.corrected:
        return f"SELECT meter, ts, wh, quality FROM {scope.readings} WHERE {within}"
    # The quality of the row with the highest revision, and of the best one among those.
    return f"""SELECT meter, ts, wh, MOD(stamp, 4) AS quality
        FROM (SELECT meter, ts, SUM(wh) AS wh, SUM(n) AS n, MAX(CAST(revision AS INTEGER) * 4 + quality) AS stamp
              FROM {scope.readings} WHERE {within} GROUP BY meter, ts) g
        WHERE n = 1"""


def measured_sql(scope: Scope) -> str:
    """Baselines beside the usage of the intervals that were reported: event, meter, ts and the energies."""
    joined = f"b.place = {scope.place('r')}"
    accepted = f"r.quality >= {scope.least_quality}" if scope.least_quality > Quality.ESTIMATED else "1 = 1"
    if scope.event is None:
        joined = "r.meter = b.meter AND r.ts = b.ts JOIN events e ON e.event = b.event"
        accepted = f"e.minutes = {scope.interval_minutes} AND r.quality >= e.least_quality"
    return f"""SELECT {scope.keys("meter", "ts", of="b.")}, b.unadjusted_wh AS unadjusted_wh,
               b.baseline_wh AS baseline_wh, CAST(r.wh AS INTEGER) AS wh, b.baseline_wh - r.wh AS saved_wh
        FROM event_baselines b
        JOIN ({current_sql(scope)}) r ON {joined}
        WHERE {scope.of_event("b")} AND {accepted}"""


_SUMS = """CAST(SUM(unadjusted_wh) AS BIGINT) AS unadjusted_wh, CAST(SUM(baseline_wh) AS BIGINT) AS baseline_wh,
           CAST(SUM(wh) AS BIGINT) AS usage_wh, CAST(SUM(baseline_wh) - SUM(wh) AS BIGINT) AS reduction_wh"""


def _events(scope: Scope) -> str:
    """Events with their intervals that are due by now."""
    now, minutes = time_literal(scope.now), scope.interval_minutes
    return f"""SELECT e.event AS event, e.minutes AS minutes, e.start_ts AS start_ts, e.end_ts AS end_ts,
               e.intervals AS intervals,
               CASE WHEN e.start_ts >= {now} THEN 0 WHEN e.end_ts <= {now} THEN e.intervals
                    ELSE CAST(FLOOR(CAST(DATEDIFF('minute', e.start_ts, {now}) AS DOUBLE) / {minutes}) AS INTEGER)
               END AS due
        FROM events e WHERE {scope.of_event("e")} AND e.minutes = {minutes}"""


def _with_forecast(columns: str, counted: str, scope: Scope) -> str:
    """Shares and the forecast over rows with these columns.

    ``homes``: with a baseline; ``due``, ``total``, ``reported``: intervals of all of them together; ``contracted_w``:
    capacity, summed over the reported ones; ``spread_n``, ``spread_x``, ``spread_xx``: number, sum and sum of squares
    of the reductions of a home and interval whose spread gives the range.
    """
    per_hour = f"{scope.interval_minutes} / 60.0"
    return f"""SELECT {columns}, due, reported,
        100 * CAST(reported AS DOUBLE) / NULLIF(due, 0) AS completeness_pct,
        unadjusted_wh, baseline_wh, usage_wh, reduction_wh,
        100 * CAST(reduction_wh AS DOUBLE) / NULLIF(contracted_w * {per_hour}, 0) AS share_pct,
        CAST(ROUND(expected_wh, 0) AS BIGINT) AS forecast_wh,
        CAST(ROUND(expected_wh - half_wh, 0) AS BIGINT) AS forecast_low_wh,
        CAST(ROUND(expected_wh + half_wh, 0) AS BIGINT) AS forecast_high_wh, newest_ts
    FROM (SELECT {columns}, due, reported, unadjusted_wh, baseline_wh, usage_wh, reduction_wh, newest_ts,
            CAST(contracted_w AS DOUBLE) AS contracted_w,
            CAST(reduction_wh AS DOUBLE) * total / NULLIF(reported, 0) AS expected_wh,
            CASE WHEN spread_n >= 2 THEN {SPREAD} * homes * SQRT(
                GREATEST((spread_xx - spread_x * spread_x / spread_n) / (spread_n - 1), 0.0)
                * (CAST(total - reported AS DOUBLE) / NULLIF(homes, 0))
                * (1.0 + CAST(total - reported AS DOUBLE) / NULLIF(homes, 0) / spread_n)) END AS half_wh
        FROM ({counted}) counted) forecast"""


def resource_sql(scope: Scope) -> str:
    """``live_resource``: a row for each resource of an event, those without baseline or readings, too."""
    sums = f"""SELECT {scope.keys("meter")}, COUNT(*) AS reported, {_SUMS},
               SUM(CAST(saved_wh AS DOUBLE) * saved_wh) AS squares, MAX(ts) AS newest_ts
        FROM ({measured_sql(scope)}) measured GROUP BY {scope.keys("meter")}"""
    counted = f"""SELECT p.event AS event, m.name AS meter, p.feeder AS feeder, p.capacity_w AS capacity_w,
               p.status AS status, 1 AS homes, e.due AS due, e.intervals AS total,
               COALESCE(s.reported, 0) AS reported, s.unadjusted_wh AS unadjusted_wh, s.baseline_wh AS baseline_wh,
               s.usage_wh AS usage_wh, s.reduction_wh AS reduction_wh, s.newest_ts AS newest_ts,
               CAST(p.capacity_w AS BIGINT) * s.reported AS contracted_w,
               CAST(s.reported AS DOUBLE) AS spread_n, CAST(s.reduction_wh AS DOUBLE) AS spread_x,
               s.squares AS spread_xx
        FROM event_resources p
        JOIN meters m ON m.id = p.meter
        JOIN ({_events(scope)}) e ON e.event = p.event
        LEFT JOIN ({sums}) s ON {scope.same("s", "p", "meter")}
        WHERE {scope.of_event("p")}"""
    return _with_forecast("event, meter, feeder, capacity_w, status", counted, scope)


def interval_sql(scope: Scope) -> str:
    """``live_interval``: a row for each event, feeder and interval that somebody reported."""
    if scope.event is None:
        return _intervals(scope, "feeder")
    return f"""SELECT e.event AS event, i.feeder AS feeder, i.ts AS ts, i.reported AS reported,
               i.contracted_w AS contracted_w, i.unadjusted_wh AS unadjusted_wh, i.baseline_wh AS baseline_wh,
               i.usage_wh AS usage_wh, i.reduction_wh AS reduction_wh
        FROM ({_intervals(scope, "feeder")}) i
        JOIN events e ON e.minutes = i.minutes WHERE {scope.of_event("e")}"""


def _intervals(scope: Scope, *group: str) -> str:
    """Sums of each interval that somebody reported, for each of the columns ``group`` of the resources."""
    keys = [*(["j.event"] if scope.event is None else []), *(f"p.{name}" for name in group), "j.ts"]
    named = ", ".join(f"{key} AS {key[2:]}" for key in keys)
    if scope.event is not None:
        named += f", {scope.interval_minutes} AS minutes"  # to be joined by
    return f"""SELECT {named}, COUNT(*) AS reported, CAST(SUM(p.capacity_w) AS BIGINT) AS contracted_w, {_SUMS}
        FROM ({measured_sql(scope)}) j
        JOIN event_resources p ON {scope.same("p", "j", "meter")}
        WHERE {scope.of_event("p")} GROUP BY {", ".join(keys)}"""


_MEAN = "CAST(reduction_wh AS DOUBLE) / reported"
"""Reduction of a home in an interval, on average over those that reported it."""

_OF_GROUP = f"""CAST(SUM(reported) AS BIGINT) AS reported, CAST(SUM(contracted_w) AS BIGINT) AS contracted_w,
           CAST(SUM(unadjusted_wh) AS BIGINT) AS unadjusted_wh, CAST(SUM(baseline_wh) AS BIGINT) AS baseline_wh,
           CAST(SUM(usage_wh) AS BIGINT) AS usage_wh, CAST(SUM(reduction_wh) AS BIGINT) AS reduction_wh,
           COUNT(*) AS spread_n, SUM({_MEAN}) AS spread_x, SUM({_MEAN} * {_MEAN}) AS spread_xx,
           MAX(ts) AS newest_ts"""


def _counted(scope: Scope, *group: str) -> str:
    """Homes and sums of an event, for each of the columns ``group`` of its resources."""
    names = ", ".join(["event", *group])
    keys = ", ".join(f"h.{name} AS {name}" for name in ("event", *group))
    one = "event" if scope.event is None else "minutes"  # which of one event are all the same
    by = ", ".join([one, *group])
    same = " AND ".join([f"s.{one} = e.{one}", *(f"s.{name} = h.{name}" for name in group)])
    return f"""SELECT {keys}, e.start_ts AS start_ts, e.end_ts AS end_ts, h.resources AS resources, h.homes AS homes,
               h.homes * e.due AS due, h.homes * e.intervals AS total, COALESCE(s.reported, 0) AS reported,
               s.contracted_w AS contracted_w, s.unadjusted_wh AS unadjusted_wh, s.baseline_wh AS baseline_wh,
               s.usage_wh AS usage_wh, s.reduction_wh AS reduction_wh, s.newest_ts AS newest_ts,
               CAST(s.spread_n AS DOUBLE) AS spread_n, s.spread_x AS spread_x, s.spread_xx AS spread_xx
        FROM (SELECT {names}, COUNT(*) AS resources,
                     SUM(CASE WHEN p.status = {text_literal(NO_BASELINE)} THEN 0 ELSE 1 END) AS homes
              FROM event_resources p WHERE {scope.of_event("p")} GROUP BY {names}) h
        JOIN ({_events(scope)}) e ON e.event = h.event
        LEFT JOIN (SELECT {by}, {_OF_GROUP} FROM ({_intervals(scope, *group)}) i GROUP BY {by}) s ON {same}"""


def feeder_sql(scope: Scope) -> str:
    """``live_feeder``: a row for each feeder of an event."""
    return _with_forecast("event, feeder, resources, homes", _counted(scope, "feeder"), scope)


def event_sql(scope: Scope) -> str:
    """``live_event``: a row for each event."""
    return _with_forecast("event, start_ts, end_ts, resources, homes", _counted(scope), scope)


def _late_homes(scope: Scope) -> str:
    """Each registered resource with what it reported of the last hours' intervals that are over."""
    until = last_due_end(scope.now, scope.interval_minutes)
    since, newest = until - timedelta(hours=LATENESS_HOURS), until - timedelta(minutes=scope.interval_minutes)
    return f"""SELECT x.feeder AS feeder, COALESCE(r.reported, 0) AS reported, r.newest_ts AS newest_ts,
               CASE WHEN r.newest_ts = {time_literal(newest)} THEN 0 ELSE 1 END AS is_behind
        FROM resources x
        LEFT JOIN (SELECT meter, SUM(n) AS reported, MAX(ts) AS newest_ts FROM {scope.readings}
                   WHERE ts >= {time_literal(since)} AND ts < {time_literal(until)} GROUP BY meter) r
        ON r.meter = x.meter"""


def lateness_sql(scope: Scope, *, by_feeder: bool = True) -> str:
    """``live_lateness`` by feeder, ``live_lateness_all`` over all: how late the registered resources' readings are.

    Of a scope only ``now`` and ``interval_minutes`` count: lateness is of the clock, not of an event.
    """
    intervals = LATENESS_HOURS * 60 // scope.interval_minutes
    ends = f"DATEDIFF('minute', MAX(newest_ts), {time_literal(scope.now)}) - {scope.interval_minutes}"
    feeder, group = ("feeder, ", " GROUP BY feeder") if by_feeder else ("", "")
    return f"""SELECT {feeder}COUNT(*) AS homes, COUNT(*) * {intervals} AS due,
               COUNT(*) * {intervals} - CAST(SUM(reported) AS BIGINT) AS missing, MAX(newest_ts) AS newest_ts,
               CAST({ends} AS INTEGER) AS delay_minutes, CAST(SUM(is_behind) AS BIGINT) AS behind,
               100 * CAST(SUM(is_behind) AS DOUBLE) / NULLIF(COUNT(*), 0) AS behind_pct
        FROM ({_late_homes(scope)}) h{group}"""


def unknown_sql(minutes: int) -> str:
    """``unknown_meters``: meters that have readings and are no registered resource."""
    return f"""SELECT m.name AS meter, CAST(SUM(r.n) AS BIGINT) AS readings, MIN(r.ts) AS first_ts,
               MAX(r.ts) AS last_ts, CAST(SUM(r.wh) AS BIGINT) AS energy_wh
        FROM {readings_table(Register.IMPORT, minutes)} r
        JOIN (SELECT k.id AS id, k.name AS name FROM meters k LEFT JOIN resources x ON x.meter = k.id
              WHERE x.meter IS NULL) m ON m.id = r.meter
        GROUP BY m.name"""


def view_texts(scope: Scope) -> dict[str, str]:
    """The text of every live view by its name."""
    return {
        "live_interval": interval_sql(scope),
        "live_resource": resource_sql(scope),
        "live_feeder": feeder_sql(scope),
        "live_event": event_sql(scope),
        "live_lateness": lateness_sql(scope),
        "live_lateness_all": lateness_sql(scope, by_feeder=False),
        "unknown_meters": unknown_sql(scope.interval_minutes),
    }

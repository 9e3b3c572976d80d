"""``negawatt correlate`` and ``negawatt forecast``: how load follows the weather, and what it will be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from negawatt.cli_base import EXISTING_FILE, Context, Group, as_json, setting
from negawatt.cli_forecast_output import say_findings, say_kind, show_errors
from negawatt.cli_forecast_plan import need_flags, predict_by_plan, train_by_plan
from negawatt.workspace import write_whole

if TYPE_CHECKING:
    from negawatt.forecasting import LoadSource, WeatherSource

DAY = click.DateTime(["%Y-%m-%d"])
FILE = click.Path(dir_okay=False, path_type=Path)
Command = Callable[..., None]


def _flags(*flags: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def give(command: Command) -> Command:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return give


load_flags = _flags(
    click.option(
        "--load", "load_file", type=EXISTING_FILE, help="File of loads.  [default: the batch store's readings]"
    ),
    click.option("--load-column", default="import_wh", show_default=True, help="Column of the energy, with --load."),
    click.option("--site-column", default="", help="Column of the site's name, with --load.  [default: one site]"),
    click.option(
        "--start-column", default="interval_start", show_default=True, help="Column of the time, in both files."
    ),
    click.option(
        "--unit", type=click.Choice(["Wh", "kWh", "MWh"]), default="Wh", show_default=True, help="Of --load."
    ),
    click.option("--file-zone", help="IANA zone of times without an offset, in both files."),
    click.option("--site", "sites", multiple=True, help="A site; again for more.  [default: all]"),
)


def _weather_flags(*, required: bool) -> Callable[[Command], Command]:
    return _flags(
        click.option(
            "--weather",
            type=EXISTING_FILE,
            required=required,
            help="File of weather: interval_start, temperature_c, relative_humidity_pct, wind_speed_ms, and more.",
        ),
        click.option(
            "--weather-column",
            "weather_columns",
            multiple=True,
            metavar="NAME=COLUMN",
            help="Which column has which name.",
        ),
    )


def _kind_flag(*, required: bool) -> Callable[[Command], Command]:
    return click.option(
        "--weather-kind",
        type=click.Choice(["actual", "forecast"]),
        required=required,
        help="What the weather is: measured afterwards, or forecast. Said wherever the results are shown.",
    )


weather_flags, kind_flag = _weather_flags(required=True), _kind_flag(required=True)
named_weather_flags, named_kind_flag = _weather_flags(required=False), _kind_flag(required=False)
"""For commands that take NAME or forecast.toml: with NAME they are required."""

period_flags = _flags(
    click.option("--from", "first", type=DAY, help="First local day.  [default: of the loads]"),
    click.option("--to", "last", type=DAY, help="Last local day, inclusive.  [default: of the loads]"),
)
spark_flags = _flags(
    click.option(
        "--on-spark", is_flag=True, help="As a Spark job over the batch store, a task for a group of sites."
    ),
    setting("--spark", "spark", "Spark master, with --on-spark."),
)


@click.command(short_help="How closely load follows the weather.")
@load_flags
@weather_flags
@period_flags
@click.option("--zone", default="UTC", show_default=True, help="IANA zone whose local days are meant.")
@click.option("--figures", type=FILE, help="Page to write.  [default: WORKSPACE/reports/correlation.html]")
@spark_flags
@as_json
@click.pass_obj
def correlate(ctx: Context, /, zone: str, figures: Path | None, on_spark: bool, **flags: Any) -> None:
    """Pearson's coefficient of load with temperature, humidity, dew point and wind, by site and by day.

    The word for each follows the range of the middle half of the days: "high" from 0.6 on, "low" up to 0.4, else
    "moderate". The dew point is worked out from temperature and humidity where the file has none. "p, effective"
    allows for neighbouring intervals being alike; what can't be compared is said, and why.

    \b
      negawatt correlate --weather weather.csv --zone Asia/Seoul             meters of the batch store
      negawatt correlate --weather weather.csv --on-spark                    likewise, many of them
      negawatt correlate --load homes.csv --site-column meter --load-column load_kwh --unit kWh --weather weather.csv
    """
    from batch.correlate import document_of  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt import forecasting  # noqa: PLC0415
    from negawatt.forecast_pages import SHORT_COLUMNS, correlation_page, short_rows  # noqa: PLC0415

    source, weather = _sources(flags, zone)
    with ctx.screen.progress() as progress:
        result = forecasting.correlate(
            ctx.workspace, ctx.settings, source, weather.read(), spark=on_spark, progress=progress
        )
    path = figures or ctx.workspace.folder / "reports" / "correlation.html"
    write_whole(path, correlation_page(result, zone).encode())
    ctx.screen.document(
        {"zone": zone, "correlations": [document_of(one) for one in result.found], "figures": str(path)}
    )
    rows = short_rows(result.found)
    ctx.screen.table(f"Load and weather, days of {zone}", SHORT_COLUMNS, rows[:40])
    if len(rows) > 40:
        ctx.screen.say(f"  and {len(rows) - 40:,} rows more: all are in the page, or with --json")
    ctx.screen.say(f"  figures: {path}")


@click.group(cls=Group, short_help="Forecast load and PV output, a day ahead.")
def forecast() -> None:
    """Forecast the load of sites a day ahead, and what PV plants will produce.

    A model learns from loads that are at least a day old, the weather of the day, and the calendar. It is judged on
    the last weeks of its data beside the load of yesterday and of last week, and refused where it is no better.

    \b
      negawatt forecast train homes --weather weather.csv --weather-kind actual --zone Asia/Seoul --holidays KR
      negawatt forecast predict homes --day 2025-08-01 --weather tomorrow.csv --weather-kind forecast
      negawatt forecast evaluate homes --from 2025-08-01 --to 2025-08-31 --weather weather.csv --weather-kind actual
    By WORKSPACE/forecast.toml, without flags:
      negawatt forecast train
      negawatt forecast predict                              tomorrow's loads and PV output
    """


@forecast.command("train", short_help="Train a model, and keep it if it beats naive forecasts.")
@click.argument("name", required=False)
@load_flags
@named_weather_flags
@named_kind_flag
@period_flags
@click.option("--zone", default="UTC", show_default=True, help="IANA zone of the sites' local days.")
@click.option("--holidays", default="", help="Holiday calendar, ISO 3166: KR, AU-VIC, …  [default: none]")
@click.option(
    "--model", type=click.Choice(["nn", "lightgbm"]), default="nn", show_default=True, help="Kind of model."
)
@click.option("--per-site", is_flag=True, help="A model for each site.  [default: one for a group of sites]")
@click.option("--coverage", default=0.8, show_default=True, help="Share of values that the interval is to hold.")
@click.option("--validation-days", default=28, show_default=True, help="Last days, on which the model is judged.")
@click.option("--folds", default=2, show_default=True, help="Stretches of them; it learns anew before each.")
@click.option("--seed", default=1, show_default=True, help="The same data and seed give the same model.")
@spark_flags
@as_json
@click.pass_obj
def train(ctx: Context, /, name: str | None, **flags: Any) -> None:
    """Train a model and keep it as the next version of NAME in WORKSPACE/models.

    It needs 71 days of loads: 15 for a site's level, 28 to learn from and 28 to be judged on. On the last days it is
    judged by walking forward, so that it never learned from what it forecasts. A model whose mean absolute error is
    no less than that of yesterday's or of last week's load is not kept, and the exit code is 1.

    With --weather-kind actual the errors are those of hindsight; with a forecast of weather they will be greater.

    Without NAME the models of WORKSPACE/forecast.toml are trained, on loads up to yesterday.
    """
    if name is None:
        train_by_plan(ctx)
        return
    need_flags(flags, "weather", "weather_kind")
    from batch.forecast import ForecastRule  # noqa: PLC0415
    from negawatt import forecasting  # noqa: PLC0415  heavy imports wait until they are needed

    own = ("model", "zone", "holidays", "coverage", "seed", "validation_days", "folds", "weather_kind")
    rule = ForecastRule(**{n: flags[n] for n in own}, scope="site" if flags["per_site"] else "global")
    source, weather = _sources(flags, rule.zone)
    with ctx.screen.progress() as progress:
        version, left_out = forecasting.train_model(
            ctx.workspace,
            ctx.settings,
            name,
            source,
            weather.read(),
            rule,
            now=datetime.now(UTC),
            spark=flags["on_spark"],
            progress=progress,
        )
    document = {n: v for n, v in version.document.items() if n not in ("validation", "inputs", "groups")}
    judged = version.document["validation"]["all"]
    worse = no_better(version.document["validation"]["sites"])
    ctx.screen.document(
        {**document, "validation": judged, "sites_no_better_than_naive": worse, "folder": str(version.folder)}
    )
    show_errors(
        ctx,
        f"Model {name}, version {version.version}: {document['sites']:,} sites, its last {rule.validation_days} days",
        judged,
    )
    say_kind(ctx, rule.weather_kind)
    if worse:
        ctx.screen.say(f"  for {len(worse):,} sites alone it is no better than a naive forecast: {_some(worse)}")
    say_findings(ctx, left_out)
    ctx.screen.say(f"  kept: {version.folder}")


@forecast.command("predict", short_help="Forecast days to come.")
@click.argument("name", required=False)
@click.option("--day", type=DAY, help="First local day of the forecast.  [default, without NAME: tomorrow]")
@click.option("--days", type=click.IntRange(1, 366), default=1, show_default=True, help="How many.")
@click.option("--version", "number", type=int, help="Version of the model.  [default: the last]")
@load_flags
@named_weather_flags
@named_kind_flag
@click.option("--out", type=FILE, help="CSV or Parquet to write.  [default: WORKSPACE/forecasts/NAME-DAY.csv]")
@click.option("--figures", type=FILE, help="Page to write as well.")
@as_json
@click.pass_obj
def predict(ctx: Context, /, name: str | None, **flags: Any) -> None:
    """Forecast the load of local days by the model NAME, with the interval that it promises.

    Each interval is forecast from loads that are at least a day older, so a day can be forecast at its midnight, and
    several days only in hindsight. Loads that are missing are replaced by those of earlier weeks, which is said; what
    can't be forecast stays empty.

    Without NAME all loads and PV plants of WORKSPACE/forecast.toml are forecast, for --day or else tomorrow.
    """
    if name is None:
        predict_by_plan(ctx, flags["day"])
        return
    need_flags(flags, "weather", "weather_kind", "day")
    from negawatt import forecasting  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt.forecast_pages import forecast_page, unforecast  # noqa: PLC0415
    from negawatt.kept_forecasts import forecast_file, keep_forecast  # noqa: PLC0415
    from negawatt.scheduled_forecasts import made_by_model  # noqa: PLC0415

    version = forecasting.registry(ctx.workspace).version(name, flags["number"])
    first = flags["day"].date()
    last = first + timedelta(days=flags["days"] - 1)
    source, weather = _sources(flags, version.rule.zone)
    found = forecasting.predict_days(ctx.workspace, ctx.settings, version, source, weather.read(), first, last)
    rows = forecasting.forecast_table(found)
    kind = flags["weather_kind"]
    path = flags["out"] or forecast_file(ctx.workspace, name, first)
    if flags["out"]:
        forecasting.write_table(path, rows)
    else:
        keep_forecast(ctx.workspace, name, first, rows, made_by_model(version, kind, last), datetime.now(UTC))
    if flags["figures"]:
        title = f"Forecast of {first}" + (f" to {last}" if last > first else "")
        write_whole(flags["figures"], forecast_page(title, kind, found, [None] * len(found)).encode())
    sites = sum(len(one.sites) for one in found)
    lacking, findings = unforecast(found), [text for one in found for text in one.findings]
    ctx.screen.document(
        {
            "model": name,
            "version": version.version,
            "first_day": first.isoformat(),
            "last_day": last.isoformat(),
            "zone": version.rule.zone,
            "weather_kind": kind,
            "learned_weather_kind": version.rule.weather_kind,
            "coverage": version.rule.coverage,
            "sites": sites,
            "intervals": rows.num_rows,
            "not_forecast": lacking,
            "findings": findings,
            "file": str(path),
        }
    )
    ctx.screen.say(f"{sites:,} sites, {rows.num_rows:,} intervals by {name}, version {version.version}: {path}")
    say_kind(ctx, kind)
    if lacking:
        ctx.screen.say(f"  [bold red]{lacking:,} intervals can't be forecast[/]")
    say_findings(ctx, findings)


@forecast.command("evaluate", short_help="Judge a model on days that it has not seen.")
@click.argument("name")
@click.option("--from", "first", type=DAY, required=True, help="First local day.")
@click.option("--to", "last", type=DAY, required=True, help="Last local day, inclusive.")
@click.option("--version", "number", type=int, help="Version of the model.  [default: the last]")
@load_flags
@weather_flags
@kind_flag
@click.option("--figures", type=FILE, help="Page to write.  [default: WORKSPACE/reports/forecast-NAME.html]")
@as_json
@click.pass_obj
def evaluate(ctx: Context, /, name: str, **flags: Any) -> None:
    """Judge the model NAME on days after those that it learned from, beside naive forecasts.

    MAPE is the mean of the errors in percent of the loads (zeros left out), WAPE all errors over all loads, bias the
    mean error: positive where the forecast was too high. Coverage is the share of loads inside the interval.
    """
    from batch.forecast_registry import metrics_of  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt import forecasting  # noqa: PLC0415
    from negawatt.forecast_pages import forecast_page  # noqa: PLC0415

    version = forecasting.registry(ctx.workspace).version(name, flags["number"])
    source, weather = _sources({**flags, "first": None, "last": None}, version.rule.zone)
    first, last = flags["first"].date(), flags["last"].date()
    validations, found, loads = forecasting.evaluate_model(
        ctx.workspace, ctx.settings, version, source, weather.read(), first, last
    )
    metrics = metrics_of(validations)
    path = flags["figures"] or ctx.workspace.folder / "reports" / f"forecast-{name}.html"
    kind = flags["weather_kind"]
    write_whole(path, forecast_page(f"{name}, {first} to {last}", kind, found, loads, metrics["all"]).encode())
    findings = [text for one in found for text in one.findings]
    ctx.screen.document(
        {
            "model": name,
            "version": version.version,
            "first_day": first.isoformat(),
            "last_day": last.isoformat(),
            "zone": version.rule.zone,
            "weather_kind": kind,
            "errors": metrics["all"],
            "sites": metrics["sites"],
            "findings": findings,
            "figures": str(path),
        }
    )
    show_errors(ctx, f"{name}, version {version.version}, {first} to {last}", metrics["all"])
    say_kind(ctx, kind)
    say_findings(ctx, findings)
    ctx.screen.say(f"  figures: {path}")


@forecast.command("pv", short_help="What a PV plant will produce.")
@click.option("--day", type=DAY, required=True, help="First local day.")
@click.option("--days", type=click.IntRange(1, 366), default=1, show_default=True, help="How many.")
@click.option("--zone", default="UTC", show_default=True, help="IANA zone of the local days.")
@click.option("--name", default="pv", show_default=True, help="The plant's name in the file.")
@click.option("--capacity-kw", type=float, required=True, help="Rating of the modules.")
@click.option("--latitude", type=float, required=True, help="North positive.")
@click.option("--longitude", type=float, required=True, help="East positive.")
@click.option("--tilt", type=float, default=20.0, show_default=True, help="Degrees from the horizontal.")
@click.option("--azimuth", type=float, default=180.0, show_default=True, help="0 north, 90 east, 180 south.")
@click.option("--interval", default=30, show_default=True, help="Interval in minutes: 5, 10, 15, 30 or 60.")
@weather_flags
@kind_flag
@click.option("--start-column", default="interval_start", show_default=True, help="Column of the time.")
@click.option("--file-zone", help="IANA zone of times without an offset.")
@click.option("--out", type=FILE, help="CSV or Parquet to write.  [default: WORKSPACE/forecasts/NAME-DAY.csv]")
@as_json
@click.pass_obj
def pv(ctx: Context, /, name: str, **flags: Any) -> None:
    """Forecast what a PV plant produces, from irradiance, temperature and its rating, by pvlib.

    The weather needs direct_wm2 (normal to the sun), diffuse_wm2 (on the horizontal) and temperature_c; wind_speed_ms
    helps. Losses and inverter are those of PVWatts.
    """
    from negawatt import forecasting  # noqa: PLC0415  heavy imports wait until they are needed
    from negawatt.kept_forecasts import forecast_file, keep_forecast  # noqa: PLC0415
    from negawatt.pv_forecasts import pv_days  # noqa: PLC0415
    from negawatt.scheduled_forecasts import made_by_plant  # noqa: PLC0415

    _, weather = _sources(flags, flags["zone"])
    first = flags["day"].date()
    last = first + timedelta(days=flags["days"] - 1)
    rows = pv_days(weather.read(), first, last, name=name, **{n: flags[n] for n in _PLANT})
    path = flags["out"] or forecast_file(ctx.workspace, name, first)
    if flags["out"]:
        forecasting.write_table(path, rows)
    else:
        made_by = made_by_plant(name, flags["zone"], flags["weather_kind"], last)
        keep_forecast(ctx.workspace, name, first, rows, made_by, datetime.now(UTC))
    energy = rows.column("forecast_wh").to_pylist()
    known = [wh for wh in energy if wh is not None]
    kind = flags["weather_kind"]
    ctx.screen.document(
        {
            "plant": name,
            "first_day": first.isoformat(),
            "last_day": last.isoformat(),
            "weather_kind": kind,
            "forecast_wh": sum(known),
            "intervals": len(energy),
            "not_forecast": len(energy) - len(known),
            "file": str(path),
        }
    )
    ctx.screen.say(f"{name}: {sum(known) / 1000:,.1f} kWh in {len(known):,} intervals: {path}")
    say_kind(ctx, kind)
    if len(known) < len(energy):
        ctx.screen.say(f"  [bold red]{len(energy) - len(known):,} intervals lack weather, and are left empty[/]")


_PLANT = ("zone", "capacity_kw", "latitude", "longitude", "tilt", "azimuth", "interval")


def _sources(flags: dict[str, Any], zone: str) -> tuple[LoadSource, WeatherSource]:
    """Where loads and weather come from, as flags say it."""
    from ingest.series_files import LoadColumns  # noqa: PLC0415
    from negawatt.forecasting import LoadSource, WeatherSource  # noqa: PLC0415

    named = [text.partition("=") for text in flags["weather_columns"]]
    for name, equals, column in named:
        if not (name and equals and column):
            raise click.UsageError("--weather-column takes NAME=COLUMN, such as temperature_c=temp")
    columns = LoadColumns(
        flags.get("load_column") or "import_wh",
        flags["start_column"],
        flags.get("site_column") or "",
        flags.get("unit") or "Wh",
        flags["file_zone"],
    )
    source = LoadSource(
        flags.get("load_file"),
        columns,
        tuple(flags.get("sites") or ()),
        _date(flags.get("first")),
        _date(flags.get("last")),
        zone,
    )
    weather = {name: column for name, _, column in named}
    return source, WeatherSource(flags["weather"], weather, flags["start_column"], flags["file_zone"])


def _date(value: Any) -> date | None:
    return value.date() if value else None


def no_better(sites: dict[str, Any]) -> list[str]:
    """Sites of a model's document for which a naive forecast was at least as good."""
    worse = []
    for site, parts in sites.items():
        mine = parts["model"]["all"]["mae"]
        naive = [found["all"]["mae"] for which, found in parts.items() if which != "model"]
        if mine is not None and any(mae is not None and mae <= mine for mae in naive):
            worse.append(site)
    return worse


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")

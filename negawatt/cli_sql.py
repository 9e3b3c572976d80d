"""``negawatt sql``: questions to the speed store in SQL, once or at a prompt."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources as package_files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click

from negawatt.cli_base import EXISTING_FILE, Context, as_json, setting

if TYPE_CHECKING:
    from negawatt.settings import Settings
    from negawatt.sql_desk import Answer, Desk, Reader
    from negawatt.workspace import Workspace

_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Output:
    """Where an answer goes, beside the screen."""

    csv: bool
    parquet: Path | None
    plot: bool
    plot_to: Path | None


def dashboards() -> dict[str, str]:
    """The queries for dashboards that come with negawatt, by name."""
    folder = package_files.files("speed").joinpath("dashboards")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return {file.name.removesuffix(".sql"): file.read_text("utf-8") for file in files}


@click.command(short_help="Ask the speed store in SQL.")
@click.argument("statement", required=False)
@click.option("-f", "--file", type=EXISTING_FILE, help="Run the statements of a file, one after another.")
@click.option("--dashboard", help="Run one of the queries that come with negawatt; --dashboards lists them.")
@click.option("--dashboards", "list_dashboards", is_flag=True, help="List the queries that come with negawatt.")
@click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Value of :NAME; repeat it."
)
@click.option("--rows", type=click.IntRange(1), help="Rows to fetch at most.  [default: 100000]")
@click.option("--seconds", type=click.FloatRange(0.001), help="How long a query may take.  [default: 60]")
@click.option("--csv", is_flag=True, help="Print CSV.")
@click.option("--parquet", type=_FILE, help="Write a Parquet file.")
@click.option("--plot", is_flag=True, help="Draw the answer: lines over a time or a number, bars over a text.")
@click.option("--plot-to", type=_FILE, help="Draw it into a file that ends with .svg or .html.")
@setting("--speed", "speed", "The speed store: duckdb:///FILE, heavydb://user@host:6274/db or stack://.")
@as_json
@click.pass_obj
def sql(
    ctx: Context,
    /,
    statement: str | None,
    file: Path | None,
    dashboard: str | None,
    list_dashboards: bool,
    parameters: tuple[str, ...],
    rows: int | None,
    seconds: float | None,
    csv: bool,
    parquet: Path | None,
    plot: bool,
    plot_to: Path | None,
) -> None:
    """Ask the speed store in SQL: STATEMENT, a file's statements, or what is typed at a prompt.

    Only queries are run (SELECT, WITH, EXPLAIN, SHOW), within a limit of rows and of time. All times are UTC.
    Energy is the sum of wh, never a count of rows: see docs/analysts.md, which has a cookbook.

    \b
      negawatt sql                                             a prompt; \\? says what it understands
      negawatt sql "SELECT COUNT(*) FROM meters"
      negawatt sql --dashboard event_homes -p event=EVENT -p from=2025-07-30T08:00Z -p until=2025-07-30T11:00Z
      negawatt sql -f question.sql --csv > answer.csv
    """
    from negawatt.sql_desk import DEFAULT_ROWS, DEFAULT_SECONDS, Desk  # noqa: PLC0415  heavy imports wait

    if list_dashboards:
        _list_dashboards(ctx)
        return
    if sum(given is not None for given in (statement, file, dashboard)) > 1:
        raise click.UsageError("a statement, --file and --dashboard exclude one another")
    desk = Desk(
        lambda: open_reader(ctx.workspace, ctx.settings),
        rows=rows or DEFAULT_ROWS,
        seconds=seconds or DEFAULT_SECONDS,
    )
    values = _values(parameters)
    text = statement or (file.read_text("utf-8") if file else None) or (dashboard and _dashboard(dashboard))
    output = Output(csv, parquet, plot, plot_to)
    if text is not None:
        _run(ctx, desk, text, values, output)
    elif sys.stdin.isatty():
        from negawatt.sql_prompt import run_prompt  # noqa: PLC0415

        run_prompt(desk, ctx.workspace.folder / "sql_history", values)
    else:
        _run(ctx, desk, sys.stdin.read(), values, output)


def open_reader(workspace: Workspace, settings: Settings) -> Reader:
    """The workspace's speed store, open to read: a DuckDB file so that nothing can write, another by its adapter."""
    from negawatt.sql_desk import StoreReader  # noqa: PLC0415
    from speed.duckdb_reader import DuckDBReader  # noqa: PLC0415

    if not settings.speed:
        return DuckDBReader(workspace.speed)
    parts = urlsplit(settings.speed)
    if parts.scheme == "duckdb" and parts.path.strip("/"):
        return DuckDBReader(Path(unquote(parts.path)))
    from negawatt import pipeline  # noqa: PLC0415

    return StoreReader(pipeline.speed_store(workspace, settings))


def _list_dashboards(ctx: Context) -> None:
    from negawatt.sql_statements import declared  # noqa: PLC0415

    found = {name: (_title(text), declared(text)) for name, text in dashboards().items()}
    ctx.screen.document(
        {
            name: {"shows": title, "parameters": {p.name: {"kind": p.kind, "default": p.default} for p in parameters}}
            for name, (title, parameters) in found.items()
        }
    )
    shown = [
        (name, title, ", ".join(p.name if p.default is None else f"{p.name}={p.default}" for p in parameters))
        for name, (title, parameters) in found.items()
    ]
    ctx.screen.table("Queries for dashboards", ("name", "what it shows", "parameters"), shown)


def _title(text: str) -> str:
    return text.splitlines()[0].removeprefix("-- ")


def _dashboard(name: str) -> str:
    known = dashboards()
    if name not in known:
        raise click.UsageError(f"no dashboard {name!r}; there are: {', '.join(known)}")
    return known[name]


def _values(given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise click.UsageError(f"-p {wrong[0]}: expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _run(ctx: Context, desk: Desk, text: str, values: dict[str, str], output: Output) -> None:
    """Run the statements of a text and show each one's answer."""
    from negawatt.sql_statements import check_reads_only, parameters_of, split  # noqa: PLC0415

    statements = split(text)
    if not statements:
        raise click.UsageError("there is no statement to run")
    if len(statements) > 1 and (ctx.screen.as_json or output.csv or output.parquet or output.plot_to):
        raise click.UsageError(
            f"--json, --csv, --parquet and --plot-to take one statement; there are {len(statements)}"
        )
    for part in statements:  # before the first one runs
        check_reads_only(part)
    used = [parameters_of(part) for part in statements]
    if unknown := sorted(set(values).difference(*used)):
        takes = ", ".join(sorted(set().union(*used))) or "none"
        raise click.UsageError(f"no parameter {', '.join(unknown)}; there are: {takes}")
    for part, names in zip(statements, used, strict=True):
        answer = desk.ask(part, {name: value for name, value in values.items() if name in names})
        _show(ctx, answer, output)


def _show(ctx: Context, answer: Answer, output: Output) -> None:
    from negawatt.sql_charts import chart_of, in_terminal, write_chart  # noqa: PLC0415
    from negawatt.sql_output import as_csv, document, people, show, write_parquet  # noqa: PLC0415

    files = [path for path in (output.parquet, output.plot_to) if path]
    if output.parquet:
        write_parquet(answer, output.parquet)
    if output.plot_to:
        write_chart(chart_of(answer), output.plot_to)
    if ctx.screen.as_json:
        ctx.screen.document(document(answer))
    elif output.csv:
        click.echo(as_csv(answer), nl=False)
    elif output.plot:
        console = people()
        console.print(in_terminal(chart_of(answer), min(console.width, 120)), soft_wrap=True)
    elif not files:
        show(people(), answer)
    if answer.more and not output.plot:
        click.echo(f"only the first {answer.table.num_rows:,} rows; --rows fetches more", err=True)
    for path in files if not (ctx.screen.as_json or output.csv) else []:
        click.echo(f"{path}: {answer.table.num_rows:,} rows")

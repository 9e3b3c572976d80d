"""How report pages are made of their templates: everything is escaped, and a name that is missing is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def page_templates(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """The templates of pages, with filters of a page's own.

    Examples
    --------
    >>> templates = page_templates({"count": lambda number: f"{number:,}"})
    >>> templates.from_string("{{ homes | count }} homes of {{ name }}").render(homes=12_000, name="<b>")
    '12,000 homes of &lt;b&gt;'
    """
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= filters
    return templates

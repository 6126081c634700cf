"""Pages for people: HTML that needs nothing but itself.

Goes in: a template that extends `page.html.j2`, and what it shows. Comes out: text. No script, no request,
every text escaped; a name that the template misspells is an error.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2


def render_page(template: Path, filters: Mapping[str, Callable[..., Any]], **shown: Any) -> str:
    """Render a page.

    Args:
        template: a file that extends `page.html.j2`.
        filters: functions that the template applies with `|`.
        shown: names that the template knows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(template.name).render(shown)

"""Pages for people: HTML that needs nothing but itself.

Goes in: a template that extends `page.html.j2`, and what it shows. Comes out: text. No script, no request,
every text escaped; a name that the template misspells is an error.
"""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from serving.files.writing import replace_whole


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


def write_page(out_dir: Path, page: str, numbers: Mapping[str, Any]) -> None:
    """Write `audit.html` and `audit.json` into a folder, which is made if need be.

    Both take the place of those of an earlier audit once both are written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with replace_whole(out_dir / "audit.html") as html, replace_whole(out_dir / "audit.json") as data:
        html.write_text(page, encoding="utf-8")
        text = json.dumps(numbers, indent=1, ensure_ascii=False)
        data.write_text(f"{text}\n", encoding="utf-8")


def embed_jpeg(content: bytes) -> str:
    """The address of a picture that stands in the page itself."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"

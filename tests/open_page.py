"""A page of this project in a real browser: it fits, is whole, and asks for nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BACKGROUNDS = {"light": "rgb(238, 241, 243)", "dark": "rgb(12, 17, 20)"}


@contextmanager
def open_page(browser: Any, path: Path, width: int, scheme: str) -> Iterator[Any]:
    """Open a file, and check at the end that it is no wider than the window and needed nothing else."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0 && image.alt)"
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == BACKGROUNDS[scheme]
    page.close()
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]

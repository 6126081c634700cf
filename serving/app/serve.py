"""`tumor serve`: a thin command over the server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from serving.app.listening import find_first_port
from serving.classifier import from_pretrained
from serving.cli.commands import ModelOption, RevisionOption


def serve(
    model: ModelOption = None,
    revision: RevisionOption = None,
    port: Annotated[int | None, typer.Option(help="Port; by default the first free one from 7860.")] = None,
    host: Annotated[str | None, typer.Option(help="By default GRADIO_SERVER_NAME, or 127.0.0.1.")] = None,
) -> None:
    """Open the app in the browser. A research tool, not a medical device."""
    find_first_port()  # before the web framework reads it, too
    classifier = from_pretrained(model, revision)
    # Imported here: the other commands need no web framework.
    with hide_proxies():
        from serving.app.server import launch

    launch(classifier, host=host, port=port)


@contextmanager
def hide_proxies() -> Iterator[None]:
    """Take the proxies out of the environment for a while.

    The web framework makes HTTP clients when it is imported, and fails where these cannot use a proxy, as one
    for SOCKS. The page asks no other host.
    """
    hidden = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)

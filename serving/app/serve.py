"""`tumor serve`: a thin command over the page."""

from typing import Annotated

import typer

from serving.classifier import from_pretrained
from serving.cli.commands import ModelOption, RevisionOption


def serve(
    model: ModelOption = None,
    revision: RevisionOption = None,
    port: Annotated[int | None, typer.Option(help="Port; by default the first free one from 7860.")] = None,
    host: Annotated[str | None, typer.Option(help="By default GRADIO_SERVER_NAME, or 127.0.0.1.")] = None,
) -> None:
    """Open the app in the browser. A research tool, not a medical device."""
    classifier = from_pretrained(model, revision)
    # Imported here: the other commands need no web framework.
    from serving.app.page import launch

    launch(classifier, host=host, port=port)

"""The app as a server: alone on a port, or mounted in an application of the caller's.

Goes in: a loaded `Classifier`. Comes out: a served page with its endpoints. The server is started here and
not by Gradio, which asks for its own page through the proxies of the environment before it starts, and
advises to share it publicly.
"""

import ctypes
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from serving.app import views
from serving.app.listening import listen
from serving.app.page import build_app
from serving.app.service import AT_ONCE, MAX_WAITING
from serving.app.uploads import UploadStore, WebGate
from serving.classifier import Classifier
from serving.files.entries import MAX_VOLUME_BYTES
from serving.model.explain import INFERNO

# Browsers keep a connection open as long as they show the page.
GRACE_SECONDS = 3
# Gradio keeps what each of so many sessions was last shown, 10,000 by default, which nothing here needs:
# memory would grow with every request, and pictures would stay after their answer.
MAX_SESSIONS = 8
# System fonts: the default theme would fetch its fonts from another host.
FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]
MONOSPACED = ["ui-monospace", "monospace"]
# Source: glibc, malloc/malloc.h.
_M_ARENA_MAX = -8
_PREFIX = "/gradio_api"
# Beginnings of Gradio's routes that hand out files. The page needs none: its pictures come inside the answer.
_CLOSED = ("file=", "file/", "proxy=", "stream/", "deep_link")


def mount_app(
    parent: FastAPI, classifier: Classifier, path: str = "/", root_path: str | None = None
) -> FastAPI:
    """Serve the app within a FastAPI application, with its scripts, its limits and its headers.

    Args:
        parent: the application; its lifespan starts the app and removes the uploads at the end.
        classifier: gives the answers.
        path: where the app lies in it, such as `/tumor`.
        root_path: where a proxy that names no `X-Forwarded-Host` shows the app, such as `/clinic/tumor`.

    Returns:
        The application.

    Example:
        >>> from serving import from_pretrained
        >>> app = mount_app(FastAPI(), from_pretrained(), "/tumor")
        >>> [route.path for route in app.routes if isinstance(route, Mount)]
        ['/tumor']

        With `app` in `clinic.py`, `uvicorn clinic:app` serves it.
    """
    store = UploadStore()
    blocks = build_app(classifier, store).queue(max_size=MAX_WAITING, default_concurrency_limit=AT_ONCE)
    blocks.state_session_capacity = MAX_SESSIONS
    # Of an app that is mounted, Gradio would copy whatever file of the server a request names.
    blocks.has_launched = True
    stops, script = json.dumps(INFERNO.tolist()), (views.WEB / "app.js").read_text(encoding="utf-8")
    gr.mount_gradio_app(
        parent,
        blocks,
        path,
        root_path=root_path,
        theme=gr.themes.Base(primary_hue="sky", neutral_hue="slate", font=FONTS, font_mono=MONOSPACED),
        css=(views.WEB / "app.css").read_text(encoding="utf-8"),
        head=f"<script>const COLOUR_STOPS = {stops};\n{script}</script>",
        max_file_size=MAX_VOLUME_BYTES,
        allowed_paths=[],
        show_error=False,
        footer_links=["api"],
        ssr_mode=False,
        app_kwargs={"middleware": [Middleware(WebGate)]},
    )
    mounted = parent.routes[-1]
    assert isinstance(mounted, Mount)
    assert isinstance(mounted.app, App)
    replace_routes(mounted.app, store)
    _remove_at_the_end(parent, store)
    return parent


def replace_routes(app: App, store: UploadStore) -> None:
    """Take uploads with the store, and close the routes of Gradio that hand out files."""
    closed = PlainTextResponse("Not found.", 404)
    app.router.routes[:0] = [
        Route(f"{_PREFIX}/upload", store, methods=["POST"]),
        *(Route(f"{_PREFIX}/{beginning}{{rest:path}}", closed) for beginning in _CLOSED),
    ]


def _remove_at_the_end(parent: FastAPI, store: UploadStore) -> None:
    """Remove the uploads that are left when the application ends."""
    lifespan = parent.router.lifespan_context

    @asynccontextmanager
    async def with_uploads(app: FastAPI) -> AsyncIterator[object]:
        try:
            async with lifespan(app) as state:
                yield state
        finally:
            store.close()

    parent.router.lifespan_context = with_uploads  # type: ignore[assignment]


def limit_arenas() -> None:
    """Let the threads of this process share two heaps, where its C library is glibc.

    With one for each thread, of which Gradio has 40, what damaged and hostile files take stays taken: memory
    grew from 775 to 870 MB in a minute, and with two it stayed at 650 (`python -m
    tests.benchmarks.benchmark_load --clients 8 --seconds 240 --bad`).
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def launch(classifier: Classifier, host: str | None = None, port: int | None = None) -> None:
    """Serve the app until it is stopped.

    Args:
        classifier: gives the answers.
        host: name or address of this machine; by default GRADIO_SERVER_NAME, or 127.0.0.1.
        port: by default the first free one from GRADIO_SERVER_PORT, or 7860.

    GRADIO_ROOT_PATH is the path under which a proxy shows the app.

    Raises:
        ServeError: the port is taken or none, or this machine has no such host.
    """
    limit_arenas()
    host = (host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1").strip("[]")
    listener = listen(host, port)
    # Leave as Python does, so that the uploads are removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with listener, tempfile.TemporaryDirectory(prefix="tumor-uploads-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # also of Gradio's own files, which else stay
        app = mount_app(FastAPI(), classifier, root_path=os.environ.get("GRADIO_ROOT_PATH"))
        shown = f"[{host}]" if ":" in host else host
        print(f"Serving on http://{shown}:{listener.getsockname()[1]}. Stop with Ctrl+C.", flush=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS)
        uvicorn.Server(config).run(sockets=[listener])

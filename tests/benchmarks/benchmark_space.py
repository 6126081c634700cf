"""How fast the Space starts, and in how much memory, in an environment made from its `requirements.txt`.

    python tests/benchmarks/benchmark_space.py

Goes in: the bundled model, published on a Hub on this machine, and PyPI, from which the requirements are
installed. Comes out: seconds from `python app.py` until the page answers and until the first prediction, with
and without the model in the cache, and the most memory.
"""

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from gradio_client import Client, handle_file
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from serving.app.views import EXAMPLES
from serving.hub.space import REQUIREMENTS_FILE, build_space
from serving.model.artefact import BUNDLED
from tests.app_process import measure_peak_megabytes, start_app
from tests.hub_client import build_environment
from tests.hub_server import HubServer, read_folder

ROUNDS = ("first start, model downloaded", "second start, model in the cache", "third start")


def main() -> None:
    """Build, install, start, measure, print."""
    console = Console()
    with tempfile.TemporaryDirectory() as scratch, HubServer() as hub:
        folder, python = Path(scratch) / "space", Path(scratch) / "venv" / "bin" / "python"
        build_space(folder, "user/model", hub.add_repo("user/model").commit(read_folder(BUNDLED)))
        with console.status("Installing the requirements into a fresh environment"):
            venv.create(python.parents[1], with_pip=True)
            subprocess.run(
                [str(python), "-m", "pip", "install", "-q", "-r", str(folder / REQUIREMENTS_FILE)], check=True
            )
        table = Table("", "s to the page", "s to the first answer", "MB at most")
        for name in ROUNDS:
            began = time.monotonic()
            with start_app(
                [str(python), "app.py"], build_environment(hub.url, Path(scratch) / "home"), folder
            ) as (address, process):
                started = time.monotonic() - began
                answer = Client(address, verbose=False).predict(
                    handle_file(str(EXAMPLES / "glioma.png")), api_name="/predict"
                )
                assert answer["label"] == "glioma"
                answered = time.monotonic() - began
                table.add_row(
                    name, f"{started:.1f}", f"{answered:.1f}", f"{measure_peak_megabytes(process):.0f}"
                )
        console.print(table)


if __name__ == "__main__":
    main()

"""A Space's folder: this package without its bundled model, an `app.py`, and what the Hub has to know.

Goes in: a model on the Hub and its commit. Comes out: a folder that the Hub builds and that starts anywhere
with `python app.py`. `serving` travels as files, so the requirements name only packages of PyPI, each pinned
to the version installed here; that of Gradio is also what the front matter asks the Hub for.
"""

import importlib.metadata
import re
import shutil
import sys
from pathlib import Path

from serving.files.writing import write_json
from serving.model.artefact import BUNDLED, CARD_FILE, LITERT_FILE, SERVING_FILES

PACKAGE = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent
# Of the installed project, whose own requirements are those of `serving`.
DISTRIBUTION = "brain-tumor-mri"
REQUIREMENTS_FILE = "requirements.txt"
APP_FILE = "app.py"
MODEL_FILE = "model.json"
TITLE = "Brain MRI slice classifier"
LEFT_OUT = (BUNDLED.name, "publish.py", "space.py", "space_*", "__pycache__", "*.pyc")
# What the app needs of the model; the Hub fetches it when it builds the Space.
PRELOADED = ",".join((*SERVING_FILES, LITERT_FILE))


def build_space(folder: Path, model_id: str, revision: str, is_private: bool = False) -> Path:
    """Write the Space of a model at a commit into a new folder, and give the folder back.

    A private model is not fetched ahead: it needs a token, which the Hub does not have while it builds.
    """
    from huggingface_hub import SpaceCard, SpaceCardData

    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copyfile(TEMPLATES / "space_app.py.j2", folder / APP_FILE)
    write_json(folder / MODEL_FILE, {"repo": model_id, "revision": revision})
    (folder / REQUIREMENTS_FILE).write_text("\n".join(pin_requirements()) + "\n", encoding="utf-8")
    data = SpaceCardData(
        title=TITLE,
        emoji="🧠",
        sdk="gradio",
        sdk_version=importlib.metadata.version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file=APP_FILE,
        license="mit",
        models=[model_id],
        short_description="A research tool, not a medical device",
    )
    if not is_private:
        data["preload_from_hub"] = [f"{model_id} {PRELOADED} {revision}"]
    template = str(TEMPLATES / "space_card.md.j2")
    card = SpaceCard.from_template(
        data, template, title=TITLE, model_id=model_id, revision=revision, is_private=is_private
    )
    (folder / CARD_FILE).write_text(str(card).rstrip() + "\n", encoding="utf-8")
    return folder


def pin_requirements() -> list[str]:
    """What `serving` needs, in the versions installed here; a requirement of an extra is none of its."""
    wanted = [line for line in importlib.metadata.requires(DISTRIBUTION) or () if "extra ==" not in line]
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted]
    return sorted(f"{name}=={importlib.metadata.version(name)}" for name in names)


def list_space_files(folder: Path) -> dict[str, Path]:
    """Files of a Space's folder, by path inside it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

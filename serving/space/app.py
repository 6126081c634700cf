"""The start of the Space: the app with the one model that `model.json` beside this file names, pinned to a commit.

Run it here as the Hub does: `python app.py`, in an environment made from `requirements.txt`.
"""

import json
from pathlib import Path

from serving import from_pretrained
from serving.app import launch

if __name__ == "__main__":
    model = json.loads(Path(__file__).with_name("model.json").read_text(encoding="utf-8"))
    launch(from_pretrained(model["repo"], model["revision"]))

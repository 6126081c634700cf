"""Draw the README's pictures of the app again: `python -m tests.make_screenshots`, from the root.

Starts the app, shows it the bundled examples in headless Chromium, and writes PNGs to `.github/`.
"""

import io
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from serving.app.views import EXAMPLES
from tests.app_process import start_app
from tests.conftest import CHROMIUM, CHROMIUM_ARGUMENTS
from tests.draw_dicom import write_series

ROOT = Path(__file__).resolve().parents[1]
DESKTOP, PHONE = {"width": 1180, "height": 800}, {"width": 390, "height": 844}


def main() -> None:
    """Start the app and take the pictures."""
    command = [sys.executable, "-c", "from trainer.cli.main import app; app()", "serve"]
    with (
        tempfile.TemporaryDirectory() as folder,
        start_app(command, {**os.environ, "HF_HUB_OFFLINE": "1"}, ROOT) as (url, _process),
        sync_playwright() as playwright,
    ):
        series = write_series(
            Path(folder, "series"),
            np.asarray(Image.open(EXAMPLES / "meningioma.png").convert("L")),
            slices=12,
        )
        examples = sorted(EXAMPLES.glob("*.png"))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        for name, view, scheme, tab, files in (
            ("app", DESKTOP, "light", "Slice", examples[1:2]),
            ("app_phone", PHONE, "dark", "Slice", examples[:1]),
            ("app_batch", DESKTOP, "light", "Batch", examples),
            ("app_volume", DESKTOP, "dark", "Volume", series),
        ):
            page = browser.new_page(viewport=view, color_scheme=scheme)
            page.goto(url)
            page.get_by_role("tab", name=tab).click()
            page.locator(".intake:visible input[type=file]").set_input_files([str(file) for file in files])
            page.wait_for_selector(".result:visible")
            save_screenshot(page, ROOT / ".github" / f"{name}.png")
            page.close()
        browser.close()


def save_screenshot(page: Page, path: Path) -> None:
    """Save the whole page."""
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(500)
    Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()

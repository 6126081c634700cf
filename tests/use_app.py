"""What a person does with the app: open a tab, send files, wait for the answer."""

from pathlib import Path
from typing import Any


def open_tab(page: Any, name: str) -> None:
    """Go to a tab of the page by its name."""
    page.get_by_role("tab", name=name).click()
    page.wait_for_selector(".drop:visible")


def send(page: Any, *files: Path | str) -> None:
    """Choose files in the form that is open."""
    page.locator(".intake:visible input[type=file]").set_input_files([str(file) for file in files])


def upload(page: Any, *files: Path) -> str:
    """Send files, and give the text of the answer."""
    send(page, *files)
    page.wait_for_selector(".verdict:visible")
    return page.inner_text(".result:visible")

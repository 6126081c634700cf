"""Numbers of a report, each marked with its place in a JSON file, held against that file."""

import html.parser
from pathlib import Path


class Marked(html.parser.HTMLParser):
    """Collects marked numbers, and the text outside of them."""

    def __init__(self):
        super().__init__()
        self.numbers, self.predictions, self.images, self.rest, self._open = [], {}, [], "", []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))
        if tag == "span":
            self._open.append(dict(attributes))

    def handle_endtag(self, tag):
        if tag == "span":
            self._open.pop()

    def handle_data(self, data):
        attributes = self._open[-1] if self._open else {}
        if "data-key" in attributes:
            self.numbers.append((attributes["data-key"], data))
        elif "data-prediction" in attributes:
            self.predictions[attributes["data-prediction"]] = data
        else:
            self.rest += data


def parse(page: Path) -> Marked:
    parser = Marked()
    parser.feed(page.read_text())
    return parser


def check_number(value, text):
    """Whether a text is a number rounded to the digits that it shows."""
    if value is None:
        assert text == "-"
        return
    if text.startswith(">"):  # a probability that is not certain
        assert 100 * value > float(text[1:-1])
        return
    digits = text.rstrip("%").replace(",", "")
    scale = 100 if text.endswith("%") else 1
    assert abs(float(digits) - scale * value) <= 0.5000001 * 10 ** -len(digits.partition(".")[2])


def follow(content, pointer):
    for step in pointer.removeprefix("/").split("/"):
        content = (
            content[int(step)]
            if isinstance(content, list)
            else content[step.replace("~1", "/").replace("~0", "~")]
        )
    return content

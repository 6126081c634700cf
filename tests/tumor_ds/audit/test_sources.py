"""The audit of sources: what is read, copies across collections and patients, the sheet, floors, the page."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.open_page import open_page
from tests.tumor_ds.audit.draw_sources import PATIENTS, save, write_classes, write_sources
from tumor_ds.audit import sources_report
from tumor_ds.audit.between import Copies, CopyPair
from tumor_ds.audit.shortcuts import CLASS, OTHER_SOURCES, SOURCE, TUMOUR, Floor
from tumor_ds.audit.sources import SourcesAudit, audit_sources
from tumor_ds.audit.twins import TwinCount
from tumor_ds.collection.errors import DatasetError

HOSTILE = "<script>document.title='x'<script>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("things")
    return {
        "table": write_sources(folder / "table"),
        "classes": write_classes(folder / "classes"),
    }


@pytest.fixture(scope="module")
def audit(folders: dict[str, Path]) -> SourcesAudit:
    return audit_sources(folders)


def find_copies(found: tuple[Copies, ...], of: str, among: str) -> Copies:
    (one,) = (one for one in found if (one.of, one.among) == (of, among))
    return one


def find_floor(audit: SourcesAudit, question: str, source: str, learnt_from: str) -> Floor:
    (floor,) = (
        floor
        for floor in audit.floors
        if (floor.question, floor.source, floor.learnt_from) == (question, source, learnt_from)
    )
    return floor


def test_pictures_are_counted_by_source_class_and_sequence(audit):
    assert audit.collections == {"table": 6 * PATIENTS, "classes": 6}
    assert [(cell.source, cell.kind, cell.sequence, cell.pictures, cell.skulls) for cell in audit.cells] == [
        ("classes", "glioma", "unknown", 6, {"unknown": 6}),
        ("north", "glioma", "T1C", 12, {"kept": 12}),
        ("north", "meningioma", "T1C", 12, {"kept": 12}),
        ("south", "notumor", "FLAIR", 6, {"stripped": 6}),
        ("south", "other tumour", "FLAIR", 6, {"stripped": 6}),
    ]
    assert [cell.outlined for cell in audit.cells] == [0, 12, 12, 0, 0]
    assert [cell.patients for cell in audit.cells] == [0, 6, 6, 6, 6]


def test_planted_copies_between_collections_and_sources(audit):
    there = find_copies(audit.between_collections, "classes", "table")
    assert there.count == TwinCount(6, 0, 4, {"left-right": 3, "turned 90": 1})
    back = find_copies(audit.between_collections, "table", "classes")
    assert back.count == TwinCount(36, 0, 4, {"left-right": 3, "turned 270": 1})
    assert {(one.of, one.among) for one in audit.between_sources} == {
        ("classes", "north"),
        ("north", "classes"),
    }
    picture, copy = ("classes", "glioma/m0.png"), ("north", "north/glioma/0.png")
    listed = {(pair.picture, pair.copy): pair for pair in there.pairs}
    assert len(listed) == 4
    assert listed[picture, copy] == CopyPair(picture, copy, "left-right", pytest.approx(1, abs=1e-3))


def test_examples_show_each_flip_and_turn(audit):
    assert {pair.transform for pair in audit.examples} == {"left-right", "turned 90"}
    assert all(key in audit.thumbnails for pair in audit.examples for key in (pair.picture, pair.copy))


def test_copies_that_two_patients_share_are_found(audit):
    (crossing,) = audit.crossings
    assert (crossing.source, crossing.groups, crossing.pictures, crossing.patients) == ("south", 1, 2, 2)
    assert crossing.near == 2
    assert set(crossing.listed[0]) == {"notumor0", "notumor5"}
    assert audit.crossing_examples == ((("south", "south/notumor/0.png"), ("south", "south/notumor/10.png")),)


def test_one_collection_compares_its_sources(folders):
    """north twice, under another name, is a copy of a source inside one collection."""
    alone = audit_sources({"table": folders["table"]})
    assert alone.between_collections == alone.between_sources == ()
    assert alone.examples == ()
    assert sources_report.build_headline(alone)[1].endswith("which of 2 sources they are of")


def test_a_source_of_two_collections_gets_two_names(folders, tmp_path):
    audit = audit_sources({"a": folders["table"], "b": write_sources(tmp_path)})
    assert sources_report.list_sources(audit) == ["north in a", "north in b", "south in a", "south in b"]
    assert find_copies(audit.between_sources, "north in a", "north in b").count.identical == 24


def test_every_cell_shows_pictures_of_different_patients(audit):
    (cell,) = (cell for cell in audit.cells if cell.kind == "meningioma")
    assert len({int(Path(name).stem) // 2 for name in cell.shown}) == len(cell.shown) == 4
    assert all((cell.source, name) in audit.thumbnails for cell in audit.cells for name in cell.shown)


def test_floors_of_sources_that_their_frame_tells(audit):
    which = find_floor(audit, SOURCE, "", "unseen patients")
    assert which.border.asked == 42
    assert which.border.recall["south"] == 1
    inside = find_floor(audit, CLASS, "north", "unseen patients")
    assert (inside.border.asked, inside.border.accuracy, inside.border.majority) == (24, 1, 0.5)
    across = find_floor(audit, CLASS, "north", OTHER_SOURCES)
    assert across.border.untaught == ("meningioma",)
    tumour = find_floor(audit, TUMOUR, "south", "unseen patients")
    assert (tumour.border.asked, tumour.border.majority) == (12, 0.5)
    assert not any(floor.question == TUMOUR and floor.source == "north" for floor in audit.floors)
    assert not any(
        floor.question == CLASS and floor.source == "south" and floor.learnt_from != OTHER_SOURCES
        for floor in audit.floors
    )


def test_damaged_pictures_are_listed_and_an_empty_collection_is_an_error(tmp_path):
    folder = write_sources(tmp_path / "table")
    (folder / "north/glioma/3.png").write_bytes(b"no picture")
    audit = audit_sources({"table": folder})
    ((name, reason),) = audit.unreadable
    assert name == "table"
    assert "north/glioma/3.png" in reason
    assert str(tmp_path) not in reason
    assert audit.collections == {"table": 35}
    (tmp_path / "empty/glioma").mkdir(parents=True)
    (tmp_path / "empty/glioma/a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"No picture of empty can be decoded: it is empty \(0 bytes\)"):
        audit_sources({"empty": tmp_path / "empty"})


def test_the_same_pictures_give_the_same_audit(audit, folders):
    assert audit_sources(folders).to_dict() == audit.to_dict()


def test_written_files_and_terminal(audit, tmp_path):
    sources_report.write_sources_audit(audit, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert stored == audit.to_dict()
    assert "thumbnails" not in stored
    console = Console(file=io.StringIO(), width=140)
    sources_report.print_sources_audit(audit, console)
    text = console.file.getvalue()
    assert "4 of 6 pictures in classes (67\N{NO-BREAK SPACE}%) have a copy in table." in text
    assert re.search(r"south\s+other tumour\s+stripped\s+0\s+0\s+0\s+6\s+0\s+6", text)
    assert re.search(r"classes\s+table\s+6\s+4\s+67\s%\s+0", text)
    assert re.search(r"north\s+class\s+unseen patients\s+24\s+100.0\s%", text)


def test_one_class_has_no_share_of_the_largest(audit):
    assert sources_report.find_majority(find_floor(audit, CLASS, "south", OTHER_SOURCES)) is None
    assert sources_report.find_majority(find_floor(audit, CLASS, "north", OTHER_SOURCES)) == 0.5


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page with names that try to get out of the text, or out of the screen."""
    folder = tmp_path_factory.mktemp("hostile")
    table = write_sources(folder / "table")
    text = (table / "sources.csv").read_text().replace("\nnorth,", f"\n{HOSTILE},")
    (table / "sources.csv").write_text(text.replace("\nsouth,", f"\n{'w' * 90},"))
    save(folder / "classes" / "{{ 7 * 7 }}[red]" / "a.png", np.zeros((9, 9), np.uint8))
    (folder / "classes" / "{{ 7 * 7 }}[red]" / f"{'v' * 90}.png").write_bytes(b"")
    audit = audit_sources({HOSTILE: table, "x" * 90: folder / "classes"})
    sources_report.write_sources_audit(audit, folder / "out")
    return folder / "out" / "audit.html"


def test_page_escapes_what_strangers_wrote(hostile_page):
    html = hostile_page.read_text()
    assert "<script" not in html
    assert "{{ 7 * 7 }}[red]" in html
    assert html.count("<img ") == html.count('src="data:image/jpeg;base64,')


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_opens_in_a_browser_and_asks_for_nothing(browser, hostile_page, width, scheme):
    with open_page(browser, hostile_page, width, scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(element => element.open = true)")


def test_outlines_are_drawn_in_colour(audit):
    by_kind = {cell.kind: (cell.source, cell.shown[0]) for cell in audit.cells}
    for kind, has_colour in (("meningioma", True), ("notumor", False)):
        pixels = np.asarray(Image.open(io.BytesIO(audit.thumbnails[by_kind[kind]])).convert("RGB")).astype(
            int
        )
        assert bool((pixels[..., 0] - pixels[..., 2] > 80).any()) is has_colour

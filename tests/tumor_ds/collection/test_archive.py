"""Class-named pictures from a zip or a folder: what is listed and read, and what is refused by name."""

import io
import os
import shutil
import stat
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.pictures import image_files
from tumor_ds.collection import archive, layout
from tumor_ds.collection.errors import DatasetError, PictureError

Build = Callable[[Iterable[str]], Path]
PICTURES = ("Training/glioma/a.jpg", "Training/notumor/b.jpg", "Testing/glioma/c.jpg")
CLASSES_ONLY = ("glioma/a.jpg", "glioma/b.jpg", "notumor/c.jpg")


def build_png(level: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (6, 4), level).save(buffer, "PNG")
    return buffer.getvalue()


PNG = build_png()


def build_zip(
    target: Path, names: Iterable[str], compression: int = zipfile.ZIP_DEFLATED, **fields: int
) -> Path:
    """A zip with one picture under each name; `fields` overwrite those of its last member."""
    with zipfile.ZipFile(target, "w", compression) as zipped:
        for name in names:
            info = zipfile.ZipInfo(name)
            # The name also where ZipInfo would cut it at a NUL.
            info.filename, info.compress_type = name, compression
            zipped.writestr(info, b"" if name.endswith("/") else PNG)
        for field, value in fields.items():
            setattr(info, field, value)
    return target


def build_folder(target: Path, names: Iterable[str]) -> Path:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(PNG)
    return target


@pytest.fixture(params=["zip", "folder"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Function `build(names)`: a zip, and then a folder, with one picture under each name."""
    if request.param == "zip":
        return lambda names: build_zip(tmp_path / "own.zip", names)
    return lambda names: build_folder(tmp_path / "own", names)


def list_paths(source: Path) -> list[str]:
    with archive.open_collection(source) as collection:
        return list(collection.paths)


def read_all(source: Path) -> dict[str, bytes]:
    with archive.open_collection(source) as collection:
        return {path: collection.read(path) for path in collection.paths}


def refuse(source: Path, *mentions: str) -> str:
    """Listing or reading is refused; the message, which is returned, mentions the file and what is wrong."""
    with pytest.raises(DatasetError) as caught:
        read_all(source)
    for mention in mentions:
        assert mention in str(caught.value)
    return str(caught.value)


# What it lists and reads


@pytest.mark.parametrize(
    ("root", "names"),
    [
        ("", PICTURES),
        ("", CLASSES_ONLY),
        ("archive/", PICTURES),
        ("archive/", CLASSES_ONLY),
        ("archive/brain tumour/Données/", PICTURES),
        ("archive/brain tumour/", CLASSES_ONLY),
    ],
)
def test_root_folders_are_stripped(build: Build, root: str, names: tuple[str, ...]):
    assert list_paths(build([root + name for name in names])) == sorted(names)


def test_a_single_class_keeps_its_name(build: Build):
    assert list_paths(build(["root/glioma/a.jpg", "root/glioma/b.jpg"])) == ["glioma/a.jpg", "glioma/b.jpg"]


def test_paths_are_in_plain_string_order(build: Build):
    names = ["b/10.jpg", "b/9.jpg", "b/a.jpg", "b/B.jpg", "a/é.jpg", "a/z.jpg", "C/x.jpg", "a b/x.jpg"]
    assert list_paths(build(names)) == [
        "C/x.jpg",
        "a b/x.jpg",
        "a/z.jpg",
        "a/é.jpg",
        "b/10.jpg",
        "b/9.jpg",
        "b/B.jpg",
        "b/a.jpg",
    ]


def test_read_gives_the_bytes_of_each_file(tmp_path: Path):
    contents = {name: build_png(level) for level, name in enumerate(PICTURES)}
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as zipped:
        for name, content in contents.items():
            zipped.writestr(f"root/{name}", content)
            (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "own" / name).write_bytes(content)
    assert read_all(tmp_path / "own.zip") == read_all(tmp_path / "own") == contents


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".Jpeg", ".png", ".BMP", ".tif", ".TIFF", ".webp"])
def test_suffixes_in_either_case(build: Build, suffix: str):
    assert list_paths(build([f"glioma/a{suffix}", "notumor/b.jpg"])) == [f"glioma/a{suffix}", "notumor/b.jpg"]


def test_what_desktops_leave_behind_is_dropped(build: Build):
    clutter = [
        ".DS_Store",
        "Training/.DS_Store",
        "Training/glioma/._a.jpg",
        "Training/glioma/.hidden.jpg",
        "Training/glioma/Thumbs.db",
    ]
    clutter += [
        "Testing/glioma/Desktop.ini",
        "__MACOSX/Training/glioma/._a.jpg",
        "__MACOSX/x.jpg",
        ".git/objects/deep/down/x.jpg",
    ]
    assert list_paths(build([*PICTURES, *clutter])) == sorted(PICTURES)


def test_folder_entries_and_dots_in_a_zip_are_harmless(tmp_path: Path):
    names = [
        "./",
        "./Training/",
        "Testing/glioma/",
        "an/empty/folder/x.jpg/",
        *(f"./{name}" for name in PICTURES),
    ]
    assert list_paths(build_zip(tmp_path / "own.zip", names)) == sorted(PICTURES)


@pytest.mark.parametrize("name", ["README.txt", "root/LICENSE", "root/Training/labels.csv", "other/notes.md"])
def test_other_files_above_the_class_folders_are_ignored(build: Build, name: str):
    assert list_paths(build([name, *(f"root/{path}" for path in PICTURES)])) == sorted(PICTURES)


def test_linked_folders_and_files_are_followed(tmp_path: Path):
    build_folder(tmp_path / "elsewhere", ["a.jpg"])
    folder = build_folder(tmp_path / "own", ["notumor/b.jpg"])
    (folder / "glioma").symlink_to(tmp_path / "elsewhere")
    (folder / "notumor" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    assert list_paths(folder) == ["glioma/a.jpg", "notumor/b.jpg", "notumor/c.jpg"]


# Names and layouts that it refuses


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "Training/glioma/../../../evil.jpg",
        "Training/../glioma/inside.jpg",
        "/abs.jpg",
        "//server/share/glioma/x.jpg",
        "C:\\x.jpg",
        "C:/glioma/x.jpg",
        "C:x.jpg",
        "Training\\glioma\\x.jpg",
        "..\\evil.jpg",
        "../",
        "../README.txt",
        "../.hidden",
        "Training/glioma /x.jpg",
        " Training/glioma/x.jpg",
        "Training/glioma/x.jpg ",
    ],
)
def test_a_zip_with_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str):
    refuse(
        build_zip(tmp_path / "own.zip", [*PICTURES, name]),
        f"own.zip holds {name},",
        "not a plain relative path",
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Training/glioma/x.jpg\0.exe", "x.jpg\\x00.exe"),
        ("\0", "\\x00"),
        ("Training/glioma/\x1b[2J.jpg", "\\x1b[2J.jpg"),
        ("Training/glioma/\u202egpj.exe.jpg", "\\u202egpj.exe.jpg"),
        ("Training/gli\u200boma/x.jpg", "gli\\u200boma"),
        ("Training/a\xa0/x.jpg", "a\\xa0"),
    ],
)
def test_control_characters_are_refused_and_not_printed(tmp_path: Path, name: str, shown: str):
    assert refuse(build_zip(tmp_path / "own.zip", [*PICTURES, name]), shown).isprintable()


def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path):
    refuse(
        build_folder(tmp_path / "own", [*PICTURES, os.fsdecode(b"Training/glioma/caf\xe9.jpg")]),
        "caf\\udce9.jpg",
    ).encode("utf-8")


@pytest.mark.parametrize(
    ("names", "mentions"),
    [
        ([*PICTURES, "glioma/d.jpg"], ["glioma/d.jpg and Testing/glioma/c.jpg", "different depths"]),
        ([*CLASSES_ONLY, "glioma/more/d.jpg"], ["glioma/a.jpg and glioma/more/d.jpg", "different depths"]),
        ([*CLASSES_ONLY, "d.jpg"], ["d.jpg and glioma/a.jpg", "different depths"]),
        (["a.jpg", "b.jpg"], ["a.jpg lies in no class folder"]),
        (
            [f"{root}/{name}" for root in ("one", "two") for name in PICTURES],
            ["one/Testing/glioma/c.jpg lies too deep"],
        ),
        (
            [*CLASSES_ONLY, "glioma/labels.csv"],
            ["glioma/labels.csv lies among the pictures", "DICOM: convert"],
        ),
        (
            [*PICTURES, "Training/pituitary/1.dcm", "Training/pituitary/2.dcm"],
            ["Training/pituitary/1.dcm", "(2 such)"],
        ),
        ([*CLASSES_ONLY, "glioma/masks/a.gif"], ["glioma/masks/a.gif lies among"]),
        ([*CLASSES_ONLY, "glioma/A.jpg"], ["glioma/A.jpg and glioma/a.jpg", "differ only in case"]),
        ([*CLASSES_ONLY, "Glioma/z.jpg"], ["Glioma and glioma", "differ only in case"]),
        (["g/é.jpg", unicodedata.normalize("NFD", "g/é.jpg")], ["g/é.jpg", "how accents are stored"]),
        (["README.txt", "glioma/scan.dcm"], ["No picture in"]),
        (["__MACOSX/glioma/a.jpg", "glioma/.a.jpg"], ["No picture in"]),
    ],
)
def test_a_layout_without_one_meaning_is_refused(build: Build, names: list[str], mentions: list[str]):
    source = build(names)
    refuse(source, *mentions, str(source))


# Zips that it refuses


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["Testing/glioma/c.jpg", "./Testing/glioma/c.jpg", "Testing//glioma/c.jpg"])
def test_a_name_that_occurs_twice_is_refused(tmp_path: Path, again: str):
    refuse(build_zip(tmp_path / "own.zip", [*PICTURES, again]), "Testing/glioma/c.jpg twice", "own.zip")


@pytest.mark.parametrize("name", [PICTURES[2], "Testing", "README.txt"])
def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path, name: str):
    names = [*(path for path in PICTURES if path != name), name]
    refuse(
        build_zip(tmp_path / "own.zip", names, external_attr=(stat.S_IFLNK | 0o777) << 16),
        f"{name} in",
        "symbolic link",
    )


def test_an_encrypted_member_is_refused(tmp_path: Path):
    refuse(build_zip(tmp_path / "own.zip", PICTURES, flag_bits=0x1), PICTURES[2], "without a password")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 9, 93, 12345])
def test_a_compression_that_is_unknown_or_unbounded_is_refused(tmp_path: Path, method: int):
    refuse(
        build_zip(tmp_path / "own.zip", PICTURES, compress_type=method),
        PICTURES[2],
        f"method {method}.",
        "with 'deflate'",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"CRC": 1},
        {"header_offset": 7},
        {"header_offset": 1 << 30},
        {"compress_size": 9},
        {"file_size": 9},
        {"filename": "Testing/glioma/d.jpg"},
    ],
)
def test_a_member_unlike_the_directory_of_the_zip_is_refused(tmp_path: Path, fields: dict):
    refuse(
        build_zip(tmp_path / "own.zip", PICTURES, **fields),
        "Cannot decode Testing/glioma/",
        "Replace the file.",
    )


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_refused(tmp_path: Path, compression: int):
    source = build_zip(tmp_path / "own.zip", PICTURES, compression)
    with zipfile.ZipFile(source) as zipped:
        start = zipped.getinfo(PICTURES[1]).header_offset + 30 + len(PICTURES[1])
    content = bytearray(source.read_bytes())
    content[start + 8 : start + 16] = b"\xff" * 8
    source.write_bytes(content)
    refuse(source, f"Cannot decode {PICTURES[1]}: ", "Replace the file.")


@pytest.mark.parametrize("content", [b"", b"GIF89a no zip", b"PK\x03\x04", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "own.zip").write_bytes(content)
    refuse(tmp_path / "own.zip", str(tmp_path / "own.zip"), "no readable zip")


@pytest.mark.parametrize("share_kept", [0.1, 0.5, 0.99])
def test_a_truncated_zip_is_refused(tmp_path: Path, share_kept: float):
    for name, remedy in (("own.zip", "zip the folder again"), (archive.ZIP_NAMES[0], archive.DOWNLOAD_URL)):
        source = build_zip(tmp_path / name, PICTURES)
        source.write_bytes(source.read_bytes()[: int(share_kept * source.stat().st_size)])
        refuse(source, str(source), "no readable zip", remedy)


def test_a_zip_without_members_and_a_missing_one_are_refused(tmp_path: Path):
    refuse(build_zip(tmp_path / "own.zip", []), "No picture in", "own.zip")
    refuse(tmp_path / "absent.zip", "absent.zip is no readable zip")


def test_the_limit_of_a_file_is_that_of_serving():
    """What a model is trained on can be sent to it."""
    assert archive.MAX_BYTES == image_files.MAX_BYTES


def test_size_is_bounded_whatever_the_zip_states(build: Build, monkeypatch: pytest.MonkeyPatch):
    source = build(PICTURES)
    monkeypatch.setattr(archive, "MAX_BYTES", len(PNG))
    list_paths(source)
    monkeypatch.setattr(archive, "MAX_BYTES", len(PNG) - 1)
    refuse(source, "Cannot decode Testing/glioma/c.jpg", f"more than {len(PNG) - 1} bytes")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """64 MiB of zeros in 65 kB, where 1 MiB is accepted: about that is unpacked, not all."""
    with zipfile.ZipFile(tmp_path / "own.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("glioma/bomb.jpg", bytes(64 << 20))
    assert (tmp_path / "own.zip").stat().st_size < 1 << 17
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        refuse(tmp_path / "own.zip", "Cannot decode glioma/bomb.jpg", "more than 1,048,576 bytes")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# Folders that it refuses


@pytest.mark.parametrize("name", ["glioma/broken.jpg", "glioma/broken", "pituitary"])
def test_a_broken_link_is_refused(tmp_path: Path, name: str):
    """Also where it has no suffix: it may have led to a class folder."""
    folder = build_folder(tmp_path / "own", CLASSES_ONLY)
    (folder / name).symlink_to(tmp_path / "absent")
    refuse(folder, str(folder / name), "broken link")


def test_a_broken_link_among_hidden_files_is_dropped(tmp_path: Path):
    folder = build_folder(tmp_path / "own", [*CLASSES_ONLY, ".cache/x.jpg"])
    (folder / ".cache" / "broken.jpg").symlink_to(tmp_path / "absent")
    assert list_paths(folder) == list(CLASSES_ONLY)


def test_a_pipe_is_refused_unread(tmp_path: Path):
    folder = build_folder(tmp_path / "own", CLASSES_ONLY)
    os.mkfifo(folder / "glioma" / "pipe.jpg")
    refuse(folder, "glioma/pipe.jpg", "no regular file")


@pytest.mark.parametrize("target", [".", "glioma"])
def test_a_link_to_a_folder_listed_already_is_refused(tmp_path: Path, target: str):
    folder = build_folder(tmp_path / "own", CLASSES_ONLY)
    (folder / "pituitary").symlink_to(folder / target)
    refuse(folder, "pituitary", "count twice")


def test_a_file_that_vanishes_is_refused(tmp_path: Path):
    folder = build_folder(tmp_path / "own", CLASSES_ONLY)
    with archive.open_collection(folder) as collection:
        (folder / "glioma/b.jpg").unlink()
        with pytest.raises(PictureError, match=r"Cannot decode glioma/b\.jpg: No such file") as caught:
            collection.read("glioma/b.jpg")
    assert str(tmp_path) not in str(caught.value)  # the audit shows it on its page


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["glioma/b.jpg", "glioma"])
def test_what_may_not_be_read_is_refused(tmp_path: Path, name: str):
    folder = build_folder(tmp_path / "own", CLASSES_ONLY)
    (folder / name).chmod(0)
    try:
        refuse(folder, name, "Permission denied")
    finally:
        (folder / name).chmod(0o755)


# Where it looks


@pytest.mark.parametrize("name", archive.ZIP_NAMES)
def test_a_zip_with_a_known_name_goes_before_the_folder(tmp_path: Path, name: str):
    build_folder(tmp_path, [*PICTURES, "._hidden.zip"])
    (tmp_path / "folder.zip").mkdir()
    build_zip(tmp_path / name, PICTURES)
    assert archive.find_source(tmp_path) == tmp_path / name


def test_the_only_zip_is_found_among_other_files(tmp_path: Path):
    build_folder(tmp_path, ["notes/read.txt", "picture.jpg", "._hidden.zip"])
    zipped = build_zip(tmp_path / "my pictures.ZIP", PICTURES)
    assert archive.find_source(tmp_path) == zipped


def test_a_zip_without_a_known_name_beside_class_folders_is_refused(tmp_path: Path):
    build_zip(build_folder(tmp_path, PICTURES) / "mine.zip", PICTURES)
    with pytest.raises(
        DatasetError, match=r"found both, mine\.zip and Testing/glioma/c\.jpg\. Leave only the one"
    ):
        archive.find_source(tmp_path)


def test_a_known_name_goes_before_other_zips(tmp_path: Path):
    for name in ("a.zip", "b.zip", *reversed(archive.ZIP_NAMES)):
        build_zip(tmp_path / name, PICTURES)
    assert archive.find_source(tmp_path) == tmp_path / archive.ZIP_NAMES[0]


@pytest.mark.parametrize("name", ["Training/glioma/a.jpg", "glioma/A.PNG", "root/Training/glioma/a.tif"])
def test_a_folder_with_pictures_in_folders_is_found(tmp_path: Path, name: str):
    build_folder(tmp_path, [name, "notes.txt"])
    assert archive.find_source(tmp_path) == tmp_path


def test_two_unknown_zips_are_refused(tmp_path: Path):
    for name in ("b.zip", "a.ZIP"):
        build_zip(tmp_path / name, PICTURES)
    with pytest.raises(
        DatasetError,
        match=r"Expected one zip in .*; found a\.ZIP, b\.zip\. Leave only the collection's\.",
    ):
        archive.find_source(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], "found nothing"),
        ([".DS_Store"], "found nothing"),
        (["notes.txt", "a.jpg"], "found a.jpg, notes.txt."),
        (["glioma/1.dcm"], "found glioma."),
        ([f"{number}.txt" for number in range(9)], "3.txt, 4.txt, ...."),
    ],
)
def test_a_missing_collection_is_refused(tmp_path: Path, names: list[str], found: str):
    for folder in (build_folder(tmp_path, names), *([] if names else [tmp_path / "absent"])):
        with pytest.raises(DatasetError) as caught:
            archive.find_source(folder)
        assert all(
            text in str(caught.value)
            for text in ("Expected a zip, or class folders", str(folder), found, archive.DOWNLOAD_URL)
        )


# Paths


def test_split_and_label():
    assert layout.split_and_label("Training/glioma/a.jpg") == ("Training", "glioma")
    assert layout.split_and_label("glioma/a.jpg") == ("", "glioma")


def test_dummy_collection_from_zip_and_folder(dummy_data_dir: Path, tmp_path: Path):
    """Every picture of the committed collection gives the same pixels from both."""
    zipped = Path(
        shutil.make_archive(str(tmp_path / "own"), "zip", dummy_data_dir.parent, dummy_data_dir.name)
    )
    with archive.open_collection(zipped) as one, archive.open_collection(dummy_data_dir) as other:
        assert one.paths == other.paths
        assert len(one.paths) == 48
        for path in one.paths:
            np.testing.assert_array_equal(one.read_grey(path), other.read_grey(path))

"""`tumor audit`: a thin command over the audit of one collection, and over that of several."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.files.errors import UserError
from trainer.cli.options import DataDirOption, console, require_training_extra, say

_COLLECTIONS = (
    "Zip or folder of pictures, CLASS/FILE or SPLIT/CLASS/FILE; folder with sources.csv; or a built dataset,"
    " such as tumor_ds/figshare. Several of them are compared."
)


def audit(
    collections: Annotated[list[str], typer.Argument(help=_COLLECTIONS)],
    out: Annotated[Path, typer.Option(help="Folder for audit.html and audit.json.")] = Path("audit"),
    data_dir: DataDirOption = None,
) -> None:
    """Show what a collection hides: copies, conflicting labels, what memory and borders alone score."""
    require_training_extra()
    from tumor_ds.audit.inputs import is_table_of_sources

    opened = [open_collection(text, data_dir) for text in collections]
    for text, thing in zip(collections, opened, strict=True):
        is_folder = isinstance(thing, Path) and thing.is_dir()
        if is_folder and out.resolve().is_relative_to(thing.resolve()):
            raise UserError(
                f"{out} lies inside {text}, where its files would count as part of the collection: choose"
                " --out elsewhere."
            )
    first = opened[0]
    if len(opened) == 1 and isinstance(first, Path) and not is_table_of_sources(first):
        _audit_one(first, out)
    else:
        _audit_several(dict(zip(name_collections(collections, opened), opened, strict=True)), out)
    say(f"Written: {out}/audit.html, {out}/audit.json")


def open_collection(text: str, data_dir: str | None) -> Any:
    """Find what is meant: a zip or a folder by its path, or the builder of a built dataset."""
    from tumor_ds.audit.inputs import is_table_of_sources
    from tumor_ds.collection.archive import find_source

    path = Path(text)
    if text.startswith("tumor_ds/") and not path.exists():
        from trainer.data.input_pipeline import load_builder

        return load_builder(text, data_dir)
    return find_source(path) if path.is_dir() and not is_table_of_sources(path) else path


def name_collections(texts: list[str], opened: list[Any]) -> list[str]:
    """Name each by its file or folder; as it was typed where two would have one name.

    Raises:
        UserError: one is named twice.
    """
    same = [text for text, count in Counter(texts).items() if count > 1]
    if same:
        raise UserError(f"{same[0]} is named twice: name two different collections to compare them.")
    names = [
        text if not isinstance(thing, Path) else thing.resolve().name if thing.is_dir() else thing.stem
        for text, thing in zip(texts, opened, strict=True)
    ]
    counts = Counter(names)
    return [name if counts[name] == 1 else text for name, text in zip(names, texts, strict=True)]


def _audit_one(source: Path, out: Path) -> None:
    from tumor_ds.audit.audit import run_audit
    from tumor_ds.audit.report import print_audit, write_audit

    result = run_audit(source, console)
    print_audit(result, console)
    write_audit(result, out)


def _audit_several(collections: dict[str, Any], out: Path) -> None:
    from tumor_ds.audit.sources import audit_sources
    from tumor_ds.audit.sources_report import print_sources_audit, write_sources_audit

    result = audit_sources(collections, console)
    print_sources_audit(result, console)
    write_sources_audit(result, out)

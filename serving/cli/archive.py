r"""An archive of a million slices, scored by Apache Beam, here or on a cluster that is there already.

Goes in: patterns of files, local or on `gs://`: pictures, DICOM, NIfTI, zips of a DICOM series. Comes out:
Parquet or CSV in so many shards, a row a picture or slice; what cannot be read is a row with its error. It
exists because a loop neither uses a cluster nor goes on where it was stopped.

Each file belongs to one shard by its name. Beside a finished shard lies a JSON file that says of which files,
in which state, and by which model it was made. A later run with the same arguments leaves such a shard as it
is. Each process of a worker loads one model. `pip install 'brain-tumor-mri[archive]'`, then

    python -m serving.cli.archive --input 'scans/**' --output scores/run1 --shards 100 \
        --runner DirectRunner --direct_num_workers 2 --direct_running_mode multi_processing

Options that are not named in `--help` go to Beam. `gs://` needs `apache-beam[gcp]` as well. On a cluster the
workers run an image that holds this package with its extra:

    --runner DataflowRunner --project P --region R --temp_location gs://B/tmp --sdk_container_image IMAGE
    --runner SparkRunner --spark_master_url spark://HOST:7077 \
        --environment_type DOCKER --environment_config IMAGE
    --runner FlinkRunner --flink_master HOST:8081 --environment_type DOCKER --environment_config IMAGE

Only the direct runner and local files are tested. On two cores two processes score 2,000 JPEG slices of 512
pixels in 17 seconds, 3 of which they take to start; `Classifier.predict_batch` takes 15
(`python -m tests.benchmarks.benchmark_archive`).
"""

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import typer

try:
    import apache_beam as beam
    from apache_beam.io import fileio
    from apache_beam.io.filesystems import CompressionTypes, FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.utils.shared import Shared
except ModuleNotFoundError as error:
    advice = "pip install 'brain-tumor-mri[archive]'"
    raise ModuleNotFoundError(f"Archives need {error.name}: {advice}.", name=error.name) from error

from serving.classifier import Classifier, from_pretrained
from serving.cli.answers import Row, list_slices
from serving.cli.batch import Input, score_inputs
from serving.cli.commands import ModelOption, RevisionOption
from serving.cli.pictures import PictureWriter
from serving.cli.shards import Format, read_report, write_report, write_shard
from serving.cli.terminal import CommandGroup
from serving.files.entries import HEAD_BYTES, MAX_VOLUME_BYTES
from serving.files.errors import ImageError
from serving.model.runtime import MAX_BATCH
from serving.pictures.volumes import is_volume

# Files that are in memory together: as many as are scored together, but no more bytes than this and one file.
_MAX_BYTES = 64 * 1024 * 1024
logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A file of the archive; a tuple, since Beam groups by its bytes.

    Attributes:
        path: local, or with a scheme such as `gs://`.
        size: bytes.
        changed: seconds since 1970; 0 where the file system does not say it.

    Example:
        >>> Found("scans/a.png", 1000, 0.0).find_shard(100)
        76
    """

    path: str
    size: int
    changed: float

    def find_shard(self, shards: int) -> int:
        """The shard that it belongs to, the same in every run."""
        return zlib.crc32(self.path.encode("utf-8", "surrogateescape")) % shards


class ScoreArchive(beam.PTransform):
    """Scores all files that patterns match, and writes the answers.

    Goes in: a collection of patterns. Comes out: a dictionary a shard, with its `shard`, `files`, `rows`,
    `errors` and whether it was `skipped`, since it was done.

    Attributes:
        output: what the names of the shards begin with, such as `gs://bucket/scores/run1`.
        model: artefact folder or Hub repository, found by every worker; None: the bundled model.
        revision: branch, tag or commit on the Hub; a commit gives every worker the same model.
        shards: how many; some thousand files a shard keep what a restart repeats small.
        file_format: `parquet` or `csv`.

    Example:
        >>> with beam.Pipeline() as pipeline:  # doctest: +SKIP
        ...     pipeline | beam.Create(["scans/*.dcm"]) | ScoreArchive("scores/run1", shards=10)
    """

    def __init__(
        self,
        output: str,
        model: str | None = None,
        revision: str | None = None,
        shards: int = 100,
        file_format: Format = "parquet",
    ):
        super().__init__()
        self.output, self.model, self.revision = output, model, revision
        self.shards, self.file_format = shards, file_format

    def expand(self, patterns: Any) -> Any:
        """Match, share out, score."""
        shards = self.shards
        return (
            patterns
            | fileio.MatchAll(fileio.EmptyMatchTreatment.DISALLOW)
            | beam.Map(lambda one: Found(one.path, one.size_in_bytes, one.last_updated_in_seconds or 0.0))
            | "each once" >> beam.Distinct()
            | beam.Map(lambda one: (one.find_shard(shards), one))
            | beam.GroupByKey()
            | beam.ParDo(_ScoreShard(self))
        )


class _ScoreShard(beam.DoFn):
    """Scores the files of a shard and writes them, unless it is done."""

    def __init__(self, settings: ScoreArchive):
        self._output, self._model, self._revision = settings.output, settings.model, settings.revision
        self._shards, self._format = settings.shards, settings.file_format
        self._shared = Shared()

    def setup(self) -> None:
        """Load the model, one for all threads of the process."""
        load = lambda: from_pretrained(self._model, self._revision)  # noqa: E731
        self._classifier: Classifier = self._shared.acquire(load, (self._model, self._revision))

    def process(self, element: tuple[int, Iterable[Found]]) -> Iterator[dict[str, Any]]:
        """Do one shard."""
        number, files = element[0], sorted(element[1], key=lambda one: one.path)
        name = f"{self._output}-{number:05d}-of-{self._shards:05d}"
        shard, state = f"{name}.{self._format}", compute_fingerprint(files, self._classifier)
        done = read_report(f"{name}.json")
        if done is not None and done["fingerprint"] == state and FileSystems.exists(shard):
            yield done | {"skipped": True}
            return
        counts = {"rows": 0, "errors": 0}
        with write_shard(shard, self._classifier.labels) as write:
            for rows in score_files(self._classifier, files):
                counts["rows"] += len(rows)
                counts["errors"] += sum("error" in row for row in rows)
                write(rows)
        report = {"shard": number, "files": len(files), **counts, "fingerprint": state}
        write_report(f"{name}.json", report)
        yield report | {"skipped": False}


def compute_fingerprint(files: Iterable[Found], classifier: Classifier) -> str:
    """Hash the files of a shard, with their sizes and times, and the model."""
    listed = [[one.path, one.size, one.changed] for one in files]
    return hashlib.sha256(json.dumps([classifier.config.raw, listed]).encode()).hexdigest()


def score_files(classifier: Classifier, files: Iterable[Found]) -> Iterator[list[Row]]:
    """Score file by file: rows of a picture or slice each, some files together."""
    writer = PictureWriter(classifier.config.image_fit, None, None)
    waiting, size = list[Input](), 0

    def score(inputs: list[Input]) -> list[Row]:
        try:
            return list(list_slices(score_inputs(classifier, inputs, None, writer)))
        except Exception as error:
            # A fault of this program; but one file of a million does not end the night's work.
            if len(inputs) == 1:
                logger.exception("A file could not be scored.")
                return [{"file": inputs[0].name, "error": f"Fault: {type(error).__name__}: {error}"}]
            return [row for one in inputs for row in score([one])]

    for file in files:
        waiting.append(read_input(file.path))
        size += file.size
        if len(waiting) == MAX_BATCH or size > _MAX_BYTES:
            yield score(waiting)
            waiting, size = [], 0
    if waiting:
        yield score(waiting)


def read_input(path: str) -> Input:
    """Read a file, no more of it than is accepted and one byte; what cannot be read is its error."""
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            content = stream.read(MAX_VOLUME_BYTES + 1)
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror or error}. Check the path and its permissions."
        return Input(path, ImageError(text))
    return Input(path, content, is_volume(content[:HEAD_BYTES]))


app = typer.Typer(cls=CommandGroup)
_BEAM = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_BEAM)
def archive(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Option("--input", help="Pattern of files; may be repeated.")],
    output: Annotated[str, typer.Option(help="What the names of the shards begin with.")],
    shards: Annotated[int, typer.Option(min=1, max=99999, help="How many; the same in a restart.")] = 100,
    file_format: Annotated[Format, typer.Option("--format", help="Of the shards.")] = "parquet",
    model: ModelOption = None,
    revision: RevisionOption = None,
) -> None:
    """Score an archive with Apache Beam, whose options follow. A research tool, not a medical device."""
    from_pretrained(model, revision)  # what is wrong with it is told before anything starts
    with beam.Pipeline(options=PipelineOptions(context.args)) as pipeline:
        scores = ScoreArchive(output, model, revision, shards, file_format)
        pipeline | beam.Create(inputs, reshuffle=False) | scores | beam.Map(_tell)


def _tell(report: dict[str, Any]) -> None:
    what = "done before" if report["skipped"] else "done"
    numbers = f"{report['files']:,} files, {report['rows']:,} rows, {report['errors']:,} errors"
    logger.warning("Shard %d: %s, %s.", report["shard"], what, numbers)


if __name__ == "__main__":
    # Imported by name, so that workers find the classes where they are, and not in `__main__`.
    from serving.cli.archive import app as named

    named()

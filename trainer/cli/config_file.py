"""From a TOML file and the options of `tumor train` to a `Config`; the file says only what differs.

Goes in: a path, `--set section.key=value` pairs, `--folds`. Comes out: a `Config` that fits them, or an error
that names the key. Light: no TensorFlow.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.config import FOLDED_DATASET, FOLDS, Config, ConfigError

# The folder `configs` of the source tree; it travels with the package.
RECIPES = Path(__file__).parents[1] / "recipes"


def find_config(name: str) -> Path:
    """Find a config by the name of a recipe that comes with the package, or by its path.

    Args:
        name: as `release`, or the path of a TOML file, as `./my.toml`.

    Raises:
        ConfigError: there is no such recipe; those that there are, are listed.
    """
    if name.endswith(".toml") or "/" in name or "\\" in name:
        return Path(name).expanduser()
    known = sorted(path.stem for path in RECIPES.glob("*.toml"))
    if name not in known:
        raise ConfigError(
            f"There is no recipe {name}. Expected one of {', '.join(known)}, or the path of a TOML file, as"
            f" ./{name}.toml."
        )
    return RECIPES / f"{name}.toml"


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a TOML file over the defaults, then the overrides over both.

    Args:
        path: TOML with the fields that differ from the defaults, or from another file beside it: `extends =
            "NAME.toml"`.
        overrides: `section.key=value` or `key=value`, the value in TOML syntax; a bare word counts as a
            string.

    Raises:
        ConfigError: no such file, bad TOML, an unknown key (the valid ones are listed) or a value of the
            wrong kind.
    """
    values = _read_toml(path, ())
    for override in overrides or []:
        _apply_override(values, override)
    return Config.model_validate(values)


def leave_out(config: Config, names: Sequence[str]) -> Config:
    """Leave datasets of `data.mix` out of training, so that the run is tested on them.

    Args:
        config: of one run.
        names: TFDS names of datasets that are mixed in, or their last parts: `lgg_tcga`.

    Raises:
        ConfigError: a name is none of those.
    """
    mixed = {name.rpartition("/")[2]: name for name in config.data.mix}
    found = tuple(mixed.get(name.rpartition("/")[2], name) for name in names)
    left_out = config.data.left_out | {str(config.data.fold): found}
    return config.replace(data=config.data.replace(left_out=left_out))


def check_folds(config: Config, all_folds: bool, artefact: bool) -> None:
    """Check that a config fits the options `--folds` and `--no-artefact` of `tumor train`.

    Raises:
        ConfigError: folds are asked for of a dataset that has none, or of one fold; or the dataset has folds
            and none is named.
    """
    dataset, fold = config.data.dataset, config.data.fold
    if all_folds and dataset != FOLDED_DATASET:
        raise ConfigError(f"--folds needs data.dataset={FOLDED_DATASET}, which has folds; got {dataset}.")
    if all_folds and fold:
        raise ConfigError(
            f"--folds trains all {FOLDS} folds, got data.fold={fold}. Leave one of the two out."
        )
    if all_folds and not artefact:
        raise ConfigError(
            "--folds pools what the artefacts say of their test folds: leave --no-artefact out."
        )
    if dataset == FOLDED_DATASET and not all_folds and not fold:
        raise ConfigError(
            f"{FOLDED_DATASET} has {FOLDS} folds instead of splits. Train all with --folds, or one with --set"
            " data.fold=1."
        )


def _read_toml(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """Read a file over those that it extends."""
    if path.resolve() in extending:
        raise ConfigError(f"{path} extends itself; name another file.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    if "extends" not in values:
        return values
    base = values.pop("extends")
    if not isinstance(base, str):
        raise ConfigError(f"extends: expected str, got {base!r}")
    return _merge(_read_toml(path.parent / base, (*extending, path.resolve())), values)


def _merge(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Lay values over a base, section by section."""
    merged = dict(base)
    for key, value in values.items():
        below = base.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(values: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"Expected --set key=value, got --set {override}")
    *sections, key = name.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {"value": text.strip()}
    if len(parsed) > 1:
        raise ConfigError(f"--set {key}: expected one value, got several lines: {text!r}")
    values[key] = parsed["value"]

"""Baselines that see no disease: what memory, and the borders of the pictures, alone tell of the classes.

Goes in: a 56x56 thumbnail and the border figures of each picture, and who is trained on whom. Comes out:
accuracy and recall of two classifiers that know nothing of medicine. A trained model has to beat both; how
high they stand says how much a split gives away.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from tumor_ds.collection.layout import split_and_label
from tumor_ds.grouping.facts import ImageFacts
from tumor_ds.grouping.splits import split_patient

THUMBNAIL_SIDE = 56
# The outermost twentieth: outside the head in most slices.
FRAME_SHARE = 0.05
# Bounds the time that a big collection takes; Kaggle's stays below it.
MAX_QUERIES = 10_000
SEED = 0
# Training pictures held as float32 at a time: 250 MB.
_REFERENCES = 20_000
TRAINING_NAMES, TESTING_NAMES = ("training", "train"), ("testing", "test")
OWN_SPLIT, UNSEEN_PATIENTS, UNSEEN_GROUPS = "own split", "unseen patients", "unseen groups"

# (training features, their int labels, features asked about) to the labels predicted for these.
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class SplitProtocol:
    """Who is trained on whom.

    Attributes:
        name: of the protocol, such as `OWN_SPLIT`.
        rounds: per round the int indices that are trained on, and those predicted; no picture is predicted
            twice.

    Example:
        >>> build_own_split(["train", "test", "train"]).rounds
        ((array([0, 2]), array([1])),)
    """

    name: str
    rounds: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class Score:
    """How one classifier does under one protocol.

    Attributes:
        protocol: name of the protocol.
        pictures: how many the protocol predicts.
        asked: how many of them were predicted, at most `MAX_QUERIES`; all figures are about these.
        accuracy: share that is right, [0, 1].
        majority: share of the most frequent class, which needs no classifier, [0, 1].
        recall: by class, [0, 1]; None where no picture of the class was asked about.
        unseen: how many were asked about that training shows no near twin of.
        unseen_accuracy: of these; None where there are none.
        untaught: classes that were asked about in a round whose training has no picture of them; those can
            only be wrong.

    Example:
        >>> paths, thumbnails = ["train/cat/a.png", "test/cat/b.png"], np.zeros((2, 56, 56), np.uint8)
        >>> protocol = build_own_split(["train", "test"])
        >>> score(protocol, predict_nearest, thumbnails, paths, np.ones(2, bool)).accuracy
        1.0
    """

    protocol: str
    pictures: int
    asked: int
    accuracy: float
    majority: float
    recall: dict[str, float | None]
    unseen: int
    unseen_accuracy: float | None
    untaught: tuple[str, ...]


def shrink(picture: np.ndarray) -> np.ndarray:
    """Average a picture over a 56x56 grid, stretched: uint8 (h, w) or (h, w, 1) to uint8 (56, 56)."""
    grey = Image.fromarray(picture.reshape(picture.shape[:2]))
    return np.asarray(grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))


def describe_border(picture: np.ndarray) -> np.ndarray:
    """Describe the size of a picture and its outermost 5 %, and nothing inside.

    Args:
        picture: uint8 (h, w) or (h, w, 1), [0, 255].

    Returns:
        float32 (27,): height, width, width / height; mean, standard deviation, minimum, maximum and share of
        zeros of the upper, lower, left and right side; means of the four corners.
    """
    height, width = picture.shape[:2]
    pixels = picture.reshape(height, width)
    rows, columns = (max(1, round(FRAME_SHARE * side)) for side in (height, width))
    sides = (pixels[:rows], pixels[-rows:], pixels[:, :columns], pixels[:, -columns:])
    corners = [part[:, at] for part in sides[:2] for at in (slice(columns), slice(-columns, None))]
    figures = [height, width, width / height]
    for side in sides:
        figures += [side.mean(), side.std(), side.min(), side.max(), np.mean(side == 0)]
    return np.array([*figures, *(corner.mean() for corner in corners)], np.float32)


def find_own_split(splits: Iterable[str]) -> tuple[str, str] | None:
    """Names of the collection's own training and test folder, in either case; None where one is missing."""
    by_name = {name.lower(): name for name in splits}
    training = [by_name[name] for name in TRAINING_NAMES if name in by_name]
    testing = [by_name[name] for name in TESTING_NAMES if name in by_name]
    return (training[0], testing[0]) if training and testing else None


def build_own_split(splits: Sequence[str]) -> SplitProtocol | None:
    """Train on the collection's own training folder, predict its test folder.

    Args:
        splits: split folder of each picture.

    Returns:
        None where the collection has no such folders.
    """
    names = find_own_split(sorted(set(splits)))
    if names is None:
        return None
    training, testing = (np.flatnonzero(np.array(splits) == name) for name in names)
    return SplitProtocol(OWN_SPLIT, ((training, testing),))


def build_folds(facts: Sequence[ImageFacts], name: str) -> SplitProtocol | None:
    """Predict each of five folds from the other four, whole groups kept together.

    Args:
        facts: of all pictures, in order.
        name: `UNSEEN_PATIENTS` or `UNSEEN_GROUPS`.

    Returns:
        None where all pictures are of one fold, so that nothing is left to train on.
    """
    fold_of = {row.path: fold for fold, rows in split_patient(facts).items() for row in rows}
    folds = np.array([fold_of[row.path] for row in facts])
    rounds = tuple(
        (np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)
    )
    return SplitProtocol(name, rounds) if len(rounds) > 1 else None


def predict_nearest(
    training: np.ndarray, labels: np.ndarray, asked: np.ndarray, standardised: bool = False
) -> np.ndarray:
    """Give each picture the label of the most similar training picture, by Euclidean distance.

    Args:
        training: uint8 (n, 56, 56), [0, 255].
        labels: int (n,).
        asked: uint8 (m, 56, 56), [0, 255].
        standardised: bring every picture to mean 0 and standard deviation 1 before, so that brightness and
            contrast tell nothing.

    Returns:
        int (m,).
    """
    queries = _flatten(asked, standardised)
    nearest, label = np.full(len(queries), np.inf), np.zeros(len(queries), labels.dtype)
    for start in range(0, len(training), _REFERENCES):
        there = labels[start : start + _REFERENCES]
        references = _flatten(training[start : start + _REFERENCES], standardised)
        model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(references, there)
        distance, index = model.kneighbors(queries)
        closer = distance[:, 0] < nearest
        nearest[closer], label[closer] = distance[closer, 0], there[index[closer, 0]]
    return label


def predict_from_border(training: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Predict the class from size and border alone.

    Args:
        training: float32 (n, 27) from `describe_border`.
        labels: int (n,).
        asked: float32 (m, 27).

    Returns:
        int (m,).
    """
    forest = RandomForestClassifier(n_estimators=200, random_state=0, n_jobs=2).fit(training, labels)
    # Threads add up the votes in the order they finish, which can turn a tie.
    return forest.set_params(n_jobs=1).predict(asked)


def score(
    protocol: SplitProtocol,
    predict: Predict,
    features: np.ndarray,
    paths: Sequence[str],
    unseen: np.ndarray,
    classes: Sequence[str] | None = None,
) -> Score:
    """Run a classifier under a protocol.

    Args:
        protocol: indices into the n pictures.
        predict: the classifier.
        features: (n, ...), what it sees of each picture.
        paths: of the n pictures.
        unseen: bool (n,), pictures that the training of their round shows no near twin of.
        classes: of the n pictures; None: their folders.

    Returns:
        Figures of the pictures that were asked about.
    """
    if classes is None:
        classes = [split_and_label(path)[1] for path in paths]
    names, labels = np.unique(classes, return_inverse=True)
    wanted = np.concatenate([asked for _, asked in protocol.rounds])
    chosen = np.zeros(len(paths), bool)
    chosen[choose_queries(wanted, paths)] = True
    predicted = np.full(len(paths), -1)
    untaught: set[str] = set()
    for training, members in protocol.rounds:
        asked = members[chosen[members]]
        if len(asked):
            predicted[asked] = predict(features[training], labels[training], features[asked])
            untaught.update(names[np.setdiff1d(labels[asked], labels[training])].tolist())
    right = predicted == labels
    new = chosen & unseen
    of_class = {name: chosen & (labels == code) for code, name in enumerate(names.tolist())}
    return Score(
        protocol=protocol.name,
        pictures=len(wanted),
        asked=int(chosen.sum()),
        accuracy=float(right[chosen].mean()),
        majority=max(int(rows.sum()) for rows in of_class.values()) / int(chosen.sum()),
        recall={name: float(right[rows].mean()) if rows.any() else None for name, rows in of_class.items()},
        unseen=int(new.sum()),
        unseen_accuracy=float(right[new].mean()) if new.any() else None,
        untaught=tuple(sorted(untaught)),
    )


def choose_queries(wanted: np.ndarray, paths: Sequence[str]) -> np.ndarray:
    """Keep at most `MAX_QUERIES` of the indices, by a keyed hash of their paths: the same everywhere."""
    if len(wanted) <= MAX_QUERIES:
        return wanted
    order = {index: hashlib.sha256(f"{SEED}:{paths[index]}".encode()).digest() for index in wanted.tolist()}
    return np.array(sorted(order, key=order.__getitem__)[:MAX_QUERIES])


def _flatten(pictures: np.ndarray, standardised: bool) -> np.ndarray:
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    if standardised:
        flat -= flat.mean(axis=1, keepdims=True)
        flat /= np.maximum(flat.std(axis=1, keepdims=True), 1e-6)  # a blank picture stays all zero
    return flat

"""How much each picture counts where something is fitted: patients alike, and hospitals alike.

Goes in: groups of pictures, and perhaps their sources. Comes out: a weight a picture. Slices of one patient
say much the same, and a large collection must not decide alone how other hospitals are answered.
"""

from collections.abc import Sequence

import numpy as np

# A source with fewer groups counts less, in proportion: three patients say little about a hospital.
FULL_GROUPS = 20


def weigh_groups(groups: np.ndarray, sources: Sequence[str] | np.ndarray | None = None) -> np.ndarray:
    """Weigh pictures, so that groups count alike and, where sources are given, sources.

    Args:
        groups: int (n,); a group lies in one source.
        sources: n names; None: all pictures are of one source.

    Returns:
        float64 (n,) with the sum 1: each source has the same weight, or less where it has fewer than
        `FULL_GROUPS` groups; it is shared evenly by its groups, and theirs by their pictures.
    """
    names = np.zeros(len(groups), int) if sources is None else np.array(sources)
    weights = np.zeros(len(groups))
    for name in np.unique(names):
        rows = names == name
        _, membership, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
        share = 1.0 if sources is None else min(1.0, len(sizes) / FULL_GROUPS)
        weights[rows] = share / len(sizes) / sizes[membership]
    return weights / weights.sum()

"""Where Kaggle's collection comes from and what is known to be wrong with it, for its published metadata.

Goes in: nothing. Comes out: what README.md says, in short.
"""

from tumor_ds.collection.archive import HOMEPAGE

# By Kaggle's version: the date of the files in its zip; the month since when Kaggle serves it.
DATES_PUBLISHED = {1: "2021-09-24", 2: "2026-02"}
ORIGIN = (
    "Merged by its author on Kaggle from figshare 1512427 (Jun Cheng: contrast-enhanced T1 slices of 233"
    " patients with glioma, meningioma or pituitary tumour), SARTAJ and Br35H; the notumor slices are"
    " Br35H's."
)
NO_PROMISE = "A figure from these pictures is no promise for other scanners, sequences or patients."
NO_PATIENT = "A `group` is near enough to a patient to keep copies together; it is not a patient number."
BIASES = [
    "All tumours are contrast-enhanced, most notumor pictures are not: a model can read 'no contrast'"
    " as 'no tumour'.",
    "notumor pictures have other sizes and borders than the rest, which a model can read as well.",
]
VERSION_LIMITS = {
    1: (
        "In four pituitary files figshare says meningioma (Te-piTr_0002, Tr-pi_0043, Tr-pi_0515, Tr-pi_0520);"
        " Kaggle's label is kept."
    ),
    2: (
        "Among the pictures are augmented ones (`-aug-` in their name). Origin and biases are told of version"
        " 1; version 2 was not examined for them."
    ),
}
# Name, what it says or covers, address.
LICENCES = (
    ("Licence stated on Kaggle", "Check it there before you redistribute pictures.", HOMEPAGE),
    ("CC BY 4.0", "Only figshare's slices.", "https://creativecommons.org/licenses/by/4.0/"),
    ("Terms of SARTAJ and Br35H", "The other slices, each as stated on Kaggle.", None),
)

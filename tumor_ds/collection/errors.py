"""What is wrong with a collection on disk, said so that its owner can mend it."""

from serving.files.errors import UserError


class DatasetError(UserError):
    """The collection on disk cannot be used as it is; the message names the file and the remedy.

    Example:
        >>> raise DatasetError("Expected one zip in DIR; found a.zip, b.zip. Leave only one.")
        Traceback (most recent call last):
        tumor_ds.collection.errors.DatasetError: Expected one zip in DIR; found a.zip, b.zip. Leave only one.
    """


class PictureError(DatasetError):
    """One file of a collection cannot be read as a picture.

    Attributes:
        reason: what is wrong with it, without its path and the remedy.

    Example:
        >>> str(PictureError("glioma/a.jpg", "it is empty (0 bytes)"))
        'Cannot decode glioma/a.jpg: it is empty (0 bytes). Replace the file.'
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"Cannot decode {path}: {reason}. Replace the file.")
        self.reason = reason

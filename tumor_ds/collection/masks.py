"""The mask of a picture, as a person saved it: which pixels belong to the tumour.

Goes in: the bytes of a PNG. Comes out: 0 or 255 for every pixel. It exists because a mask is no picture: the
value 1 of 255 looks black and still says tumour, so nothing is windowed and nothing rounded to a grey level.
"""

import io

import numpy as np
from PIL import Image, ImageOps

from serving.files.errors import ImageError
from serving.preprocess import decode


def decode_mask(content: bytes) -> np.ndarray:
    """Decode a mask; every pixel that is not black belongs to the tumour.

    A soft edge counts as a whole: a pixel of 1 is as much tumour as one of 255. What is transparent counts as
    black, and a colour of a palette as the colour that it names.

    Args:
        content: PNG of any mode: black and white, grey with 8 or 16 bits, colours, palette, with alpha.

    Returns:
        uint8 (h, w): 255 in the tumour, 0 elsewhere.

    Raises:
        ImageError: it is empty, damaged, too large, or no PNG by its content.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(buffer, "PNG")
        >>> decode_mask(buffer.getvalue()).tolist()
        [[0, 255, 255]]
    """
    facts = decode(content).facts  # the limits and the checks of any picture
    if facts is None or facts.format != "PNG":
        kind = facts.format if facts else "no file"
        raise ImageError(f"The upload is {kind} by its content, expected PNG. Save the mask as PNG.")
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content), formats=("PNG",)))
    if image.mode.startswith("I"):  # 16 bits, which no other mode of Pillow holds
        return _to_mask(np.asarray(image) > 0)
    pixels = np.asarray(image.convert("RGBA"))
    return _to_mask((pixels[..., :3] > 0).any(axis=2) & (pixels[..., 3] > 0))


def _to_mask(inside: np.ndarray) -> np.ndarray:
    return np.where(inside, 255, 0).astype(np.uint8)

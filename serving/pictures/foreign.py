"""What people send in place of a picture that is read here, named with what to do.

Goes in: the first bytes of a file, and its name. Comes out: a clause such as "HEIC, which is not read: export
it as PNG or JPEG". Only the content decides; the name is asked where the content has no mark.
"""

import re
import zlib

from serving.pictures.containers import MAX_COUNTED, count_gif

_AS_PICTURE = "export it as PNG or JPEG"
_AS_NIFTI = "convert it to NIfTI (.nii.gz)"
_AS_SLICE = "save the slice as 16-bit PNG or as NIfTI"
_AS_SHOT = "export one slice of it as PNG"
_UNPACK = "unpack it, or pack a zip"
# By first bytes: name and remedy.
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"%!PS", "PostScript", _AS_PICTURE),
    (b"8BPS", "a Photoshop file", _AS_PICTURE),
    (b"gimp xcf", "a GIMP file", _AS_PICTURE),
    (b"\0\0\0\x0cjP  ", "JPEG 2000", _AS_PICTURE),
    (b"\xff\x4f\xff\x51", "JPEG 2000", _AS_PICTURE),
    (b"\0\0\0\x0cJXL ", "JPEG XL", _AS_PICTURE),
    (b"\xff\x0a", "JPEG XL", _AS_PICTURE),
    (b"#?RADIANCE", "Radiance HDR", _AS_PICTURE),
    (b"#?RGBE", "Radiance HDR", _AS_PICTURE),
    (b"v/1\x01", "OpenEXR", _AS_PICTURE),
    (b"\0\0\x01\0", "an icon", _AS_PICTURE),
    (b"NRRD000", "NRRD (.nrrd)", _AS_NIFTI),
    (b"\0\0\0\x01\0\0", "a FreeSurfer volume (.mgh)", _AS_NIFTI),
    (b"\x93NUMPY", "a NumPy array (.npy)", _AS_SLICE),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file (.mat)", _AS_SLICE),
    (b"MATLAB 7.3 MAT-file", "a MATLAB file (.mat)", _AS_SLICE),
    (b"\x89HDF\r\n\x1a\n", "HDF5 (.h5, .mat, .mnc)", _AS_SLICE),
    (b"CDF\x01", "NetCDF (.mnc)", _AS_NIFTI),
    (b"CDF\x02", "NetCDF (.mnc)", _AS_NIFTI),
    (b"\x1aE\xdf\xa3", "a film (Matroska or WebM)", _AS_SHOT),
    (b"\0\0\x01\xba", "a film (MPEG)", _AS_SHOT),
    (b"\0\0\x01\xb3", "a film (MPEG)", _AS_SHOT),
    (b"0&\xb2u\x8ef\xcf\x11", "a film (WMV)", _AS_SHOT),
    (b"G@\0", "a film (MPEG)", _AS_SHOT),
    (b"FLV\x01", "a film (Flash)", _AS_SHOT),
    (b"OggS", "a film (Ogg)", _AS_SHOT),
    (b"\x7fELF", "a program", _AS_PICTURE),
    (b"MZ", "a program", _AS_PICTURE),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"7z\xbc\xaf'\x1c", "a 7-Zip archive", _UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"(\xb5/\xfd", "a Zstandard archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an older office program", _AS_PICTURE),
    (b"{\\rtf", "a text document (RTF)", _AS_PICTURE),
)
# ISO/IEC 23008-12 and 14496-12: brands of files that start with a box "ftyp". A file of HEIC or AVIF may put
# a general brand first and name its own among the compatible ones.
_AVIF = {b"avif", b"avis", b"avio", b"MA1A", b"MA1B"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_HEIC |= {b"miaf", b"MiHE", b"MiHB", b"jpeg", b"jpgs", b"avci", b"avcs", b"heif"}
_FILM_BOXES = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_RIFF = {b"AVI ": ("a film (AVI)", _AS_SHOT), b"WAVE": ("sound (WAV)", _AS_PICTURE)}
_META_IMAGE = re.compile(rb"\s*(?:Comment|ObjectType|NDims|TransformType)\s*=", re.IGNORECASE)
_PAIR = re.compile(r"\.(?:img|hdr)(?:\.gz)?$", re.IGNORECASE)
# Formats whose older versions have no mark; by the end of the name.
_ENDINGS = {".mat": ("a MATLAB file (.mat)", _AS_SLICE), ".rec": ("a Philips volume (.rec)", _AS_NIFTI)}


def describe_foreign(content: bytes, name: str) -> str | None:
    """Name a format that is not read, and what to do.

    Args:
        content: of the file, or its first kilobyte.
        name: of the file; of an upload without one, anything.

    Returns:
        A clause that follows "is"; None where neither the content nor the name has a mark of such a format.
    """
    is_packed = content.startswith(b"\x1f\x8b")
    content = _unpack_start(content) if is_packed else content
    found = _find(content) or _find_medical(content, name)
    if is_packed and not found:
        found = "a packed file (.gz)", "unpack it"
    return f"{found[0]}, which is not read: {found[1]}" if found else None


def _find(content: bytes) -> tuple[str, str] | None:
    text = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if content.startswith(b"GIF8"):
        count = count_gif(content)
        more = " or more" if count == MAX_COUNTED else ""
        return ("GIF" if count < 2 else f"GIF of {count:,} pictures{more}"), _AS_PICTURE
    if b"%PDF-" in content[:1024]:
        return "a PDF", _AS_PICTURE
    if content[4:8] == b"ftyp":
        return _name_brand(content)
    if content[4:8] in _FILM_BOXES:
        return "a film (QuickTime)", _AS_SHOT
    if content.startswith(b"RIFF") and content[8:12] in _RIFF:
        return _RIFF[content[8:12]]
    if text.startswith(b"<") or text.startswith("<".encode("utf-16-le")):
        return "SVG, XML or a web page", _AS_PICTURE
    for start, kind, remedy in _STARTS:
        if content.startswith(start):
            return kind, remedy
    return None


def _find_medical(content: bytes, name: str) -> tuple[str, str] | None:
    """Volumes whose mark is not at the start, or is no mark but the name."""
    if _META_IMAGE.match(content[:200]) and b"\n" in content[:1024]:
        return "MetaImage (.mha, .mhd)", _AS_NIFTI
    if content[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    is_analyze = content[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c")  # the size of its header, 348
    if is_analyze or _PAIR.search(name):
        return "one half of a pair of files, .hdr and .img", "convert the pair to one NIfTI file (.nii.gz)"
    if content[:1024].lstrip().startswith(b"# === DATA DESCRIPTION FILE"):
        return "a Philips header (.par)", _AS_NIFTI
    return _ENDINGS.get(name[-4:].lower())


def _name_brand(content: bytes) -> tuple[str, str]:
    size = min(int.from_bytes(content[:4], "big"), 512)
    first, others = content[8:12], content[16:size]
    brands = {first, *(others[at : at + 4] for at in range(0, len(others), 4))}
    if brands & _AVIF:
        return "AVIF", _AS_PICTURE
    if brands & _HEIC:
        return "HEIC", _AS_PICTURE
    if first == b"crx ":
        return "a raw photograph (CR3)", _AS_PICTURE
    return "a film", _AS_SHOT


def _unpack_start(content: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content[:1024], 1024)
    except zlib.error:
        return b""

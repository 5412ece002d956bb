"""The one reader of pictures, for folders and for mixtures: it drops nothing without a word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sepviz.core import SepvizError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
DEEP = ("I", "F")  # modes of 16 bits and more


def read_picture(path: Path, formats: tuple[str, ...] = FORMATS) -> tuple[Image.Image, int]:
    """Read a picture, upright.

    Returns
    -------
    picture : PIL.Image.Image
        Of mode L where it is gray, has a gray palette or is a gray WebP, which is always stored in
        colour; of a mode in `DEEP` where it is gray with 16 bits or more; else RGB.
    more : int
        How many pages or frames the file has after this one.

    Raises
    ------
    SepvizError
        If the file is missing, damaged or of another format, or has transparent pixels, or colours
        whose RGB is not certain.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=formats) as opened:
            more = getattr(opened, "n_frames", 1) - 1
            raw = str(opened.tile[0][3]) if opened.tile else ""
            raw = "WEBP" if opened.format == "WEBP" else raw
            picture = ImageOps.exif_transpose(opened)
        if not _opaque(picture, raw):
            raise SepvizError(f"{path} has transparent pixels, which have no value: "
                              "save it on a background, without transparency")
        return _plain(path, picture, raw), more
    except SepvizError:
        raise
    except FileNotFoundError:
        raise SepvizError(f"cannot read {path}: No such file or directory") from None
    except IsADirectoryError:
        raise SepvizError(f"cannot read {path}: it is a folder, give a file") from None
    except Exception as error:  # PIL's decoders raise nearly anything on a broken file
        why = " ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__
        wanted = "no PNG" if formats == ("PNG",) else "not a readable image"
        raise SepvizError(f"{path} is damaged or {wanted} ({why}): "
                          "save it again, or remove it") from None


def _opaque(picture: Image.Image, raw: str) -> bool:
    """Whether no pixel shows what lies behind it."""
    key = picture.info.pop("transparency", None)  # a value, or a palette's alphas
    if picture.mode.startswith(DEEP):
        return key is None or not bool((np.asarray(picture) == key).any())
    if key is not None:  # in the file's bits, where the pixels were brought to 8
        scale = {"L;2": 85, "L;4": 17}.get(raw, 1)
        high = raw == "RGB;16B"
        picture.info["transparency"] = tuple(value >> 8 for value in key) if high else key * scale
    opaque = picture.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    picture.info.pop("transparency", None)
    return opaque


def _plain(path: Path, picture: Image.Image, raw: str) -> Image.Image:
    """An opaque picture as L or RGB, a deep one as it is."""
    mode = picture.mode
    if mode in ("P", "PA") or raw in ("LA;16B", "WEBP"):  # PIL opens 16 bits of LA as RGBA
        colours = picture.convert("RGB")
        red, green, blue = (band.tobytes() for band in colours.split())
        return colours.getchannel("R") if red == green == blue else colours
    if mode in ("L", "RGB") or mode.startswith(DEEP):
        return picture
    if mode in ("1", "LA", "RGBA", "RGBX", "YCbCr"):
        return picture.convert("L" if mode in ("1", "LA") else "RGB")
    raise SepvizError(f"{path} has colours of mode {mode}, whose red, green and blue are not "
                      "certain: save it as RGB or gray")

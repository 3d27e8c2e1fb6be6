"""Picture files of any kind, size and polarity, as the network's own training pictures were in their files."""

from __future__ import annotations

import math
import os
import warnings
from typing import TYPE_CHECKING, Any, List, NamedTuple, Sequence

from jobs import JobError
from jobs.pictures import Pictures, ground, invert, is_inverted

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")
"""What is taken for a picture in a folder; a file that is named itself may have any suffix."""
DEPTHS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""White, in pictures of whole numbers: a camera's 12 bits may come in 16, and a byte in 32."""
MOST_PIXELS = 1 << 26
"""Of a picture with its padding; a larger one is averaged down by a whole number first."""


class Picture(NamedTuple):
    """A file as the network will see it."""

    path: str
    pixels: np.ndarray[Any, Any]
    """uint8 of shape native, or (*native, 3)."""
    inverted: bool


def listed(words: Sequence[str]) -> List[str]:
    """The files that are meant: a folder stands for the pictures in it, in the order of their names."""
    paths: List[str] = []
    for word in words:
        if os.path.isdir(word):
            names = (name for name in os.listdir(word) if name.lower().endswith(SUFFIXES))
            found = sorted(name for name in names if os.path.isfile(os.path.join(word, name)))
            if not found:
                raise JobError(
                    f"there is no picture in {word}", "pass a folder of " + " ".join(SUFFIXES[:4]) + " files"
                )
            paths += [os.path.join(word, name) for name in found]
        elif os.path.isfile(word):
            paths.append(word)
        else:
            raise JobError(f"there is no picture {word}", "pass files, or a folder of them")
    return paths


def read(path: str, pictures: Pictures, polarity: str = "auto") -> Picture:
    """Read a file and bring it to the size and kind of the training pictures. JobError for what is no picture."""
    image = _open(path, pictures.channels)
    inverted = is_inverted(pictures, image, polarity)
    if inverted:
        image = invert(pictures, image)
    return Picture(path, fitted(image, pictures), inverted)


def fitted(image: np.ndarray[Any, Any], pictures: Pictures) -> np.ndarray[Any, Any]:
    """A picture of any size as one of the native size: padded to its proportions, then averaged down (or up)."""
    import numpy as np
    from PIL import Image

    height, width = pictures.native
    if pictures.fit == "pad" and image.shape[0] * width != image.shape[1] * height:
        longer = max(image.shape[0] / height, image.shape[1] / width)
        if height * width * longer**2 > MOST_PIXELS:  # a very long one would be padded to gigabytes
            factor = math.ceil(math.sqrt(height * width * longer**2 / MOST_PIXELS))
            image = np.asarray(Image.fromarray(image).reduce(factor))
            longer = max(image.shape[0] / height, image.shape[1] / width)
        rows, columns = (max(round(side * longer), have) for side, have in zip((height, width), image.shape))
        top, left = (rows - image.shape[0]) // 2, (columns - image.shape[1]) // 2
        canvas = np.empty((rows, columns, *image.shape[2:]), np.uint8)
        canvas[...] = ground(image)
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        image = canvas
    if image.shape[:2] == pictures.native:
        return image
    smaller = image.shape[0] >= height and image.shape[1] >= width
    kind = Image.BOX if smaller else Image.BILINEAR  # type: ignore[attr-defined]  # both spellings exist since Pillow 9.4
    return np.asarray(Image.fromarray(image).resize((width, height), kind))


def _open(path: str, channels: int) -> np.ndarray[Any, Any]:
    """uint8 of shape (height, width), or (height, width, 3)."""
    try:
        import numpy as np
        from PIL import Image, ImageOps
    except ImportError as error:
        raise JobError(f"reading pictures needs {error.name}", "pip install pillow numpy") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                file.load()
                # The turn that a camera has noted; then 16 bits to 8, and what shines through to a ground.
                image = ImageOps.exif_transpose(file) or file
                if image.mode.startswith(("I", "F")):
                    image = _of_deep(image)
                elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
                    image = _of_transparent(image)
                return np.array(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "cannot identify image file" in reason:
            reason = "none that Pillow knows"
        raise JobError(
            f"{path} is no whole picture: {reason}", "pass a jpg, png, bmp or the like, or leave this file out"
        ) from error


def _of_deep(image: Any) -> Any:
    """Grey of more than 8 bits, or of any numbers, to 8 bits: by the depth that the greatest number needs."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are no numbers")
    greatest = max(float(values.max()), 1.0)
    depths = () if image.mode.startswith("F") else DEPTHS
    deepest = next((depth for depth in depths if greatest <= depth), greatest)
    return Image.fromarray((np.clip(values, 0, deepest) * (255.0 / deepest)).astype(np.uint8))


def _of_transparent(image: Any) -> Any:
    """What is not there becomes a ground that the rest stands out from."""
    import numpy as np
    from PIL import Image

    image = image.convert("RGBA")
    values = np.asarray(image)
    seen = values[values[..., 3] > 127][:, :3]
    shade = 0 if len(seen) and seen.mean() > 127 else 255
    under = Image.new("RGBA", image.size, (shade, shade, shade, 255))
    under.alpha_composite(image)
    return under

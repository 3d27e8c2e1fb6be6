"""What stays of a classification: a text file a picture, as the reference writes it, and a contact sheet.

They are made first and written together: all of them, or none.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Set, Tuple

if TYPE_CHECKING:
    import numpy as np

    from .classifying import Answer

TILE = 96
CAPTION = 30
SHEET_PICTURES = 60
GOOD, BAD, PLAIN = (0, 110, 40), (190, 0, 0), (30, 30, 30)


class Tile(NamedTuple):
    """A picture on a contact sheet."""

    pixels: np.ndarray[Any, Any]
    title: str
    words: str
    right: Any = None
    """True, False, or None where nobody knows."""


def texts(folder: str, answers: Sequence[Answer], classes: Sequence[str]) -> Dict[str, bytes]:
    """`NAME.txt` for each picture, with its class and nothing else.

    Two pictures of one name (1.png and 1.jpg, a/1.png and b/1.png) get 1.txt and 1.jpg.txt, 1-2.txt and so on.
    """
    used: Set[str] = set()
    return {
        os.path.join(folder, _free(os.path.basename(answer.path), used)): classes[answer.top[0][0]].encode()
        for answer in answers
    }


def tiles(answers: Iterable[Answer], classes: Sequence[str]) -> List[Tile]:
    """The tiles of those answers that still have their picture."""
    found = []
    for answer in answers:
        if answer.pixels is None:
            continue
        index, share = answer.top[0]
        words = f"{classes[index]}  {share:.1%}" + (" inv." if answer.inverted else "")
        found.append(Tile(answer.pixels, os.path.basename(answer.path), words))
    return found


def sheet(found: Sequence[Tile], title: str, of: int) -> bytes:
    """A PNG of at most SHEET_PICTURES tiles, each with what it is taken for; `of`: of how many pictures."""
    from PIL import Image, ImageDraw

    shown = list(found[:SHEET_PICTURES])
    columns = min(10, max(4, math.ceil(math.sqrt(len(shown) or 1))))
    rows = math.ceil(len(shown) / columns)
    width, step = columns * (TILE + 8) + 8, TILE + CAPTION + 8
    page = Image.new("RGB", (width, rows * step + 32), "white")
    draw = ImageDraw.Draw(page)
    more = f" ({len(shown)} of {of} pictures)" if of > len(shown) else ""
    draw.text((8, 8), _plain(title + more), fill=PLAIN)
    for number, tile in enumerate(shown):
        left, top = 8 + (number % columns) * (TILE + 8), 32 + (number // columns) * step
        page.paste(Image.fromarray(tile.pixels).convert("RGB").resize((TILE, TILE), Image.NEAREST), (left, top))  # type: ignore[attr-defined]
        colour = PLAIN if tile.right is None else GOOD if tile.right else BAD
        draw.rectangle((left - 1, top - 1, left + TILE, top + TILE), outline=colour)
        draw.text((left, top + TILE + 3), _plain(tile.words)[:16], fill=colour)
        draw.text((left, top + TILE + 15), _plain(tile.title)[-16:], fill=PLAIN)
    return png(page)


def png(image: Any) -> bytes:
    """The bytes of a PNG file."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def write(files: Mapping[str, bytes]) -> None:
    """Make or replace files. Each appears whole, and none before there is room for all. OSError as it comes."""
    written: List[Tuple[str, str]] = []
    try:
        for number, (path, data) in enumerate(files.items()):
            folder = os.path.dirname(os.path.abspath(path))
            os.makedirs(folder, exist_ok=True)
            if os.path.isdir(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            temporary = os.path.join(folder, f".{os.getpid()}-{number}.part")
            written.append((temporary, path))
            with open(temporary, "wb") as file:
                file.write(data)
        while written:
            os.replace(*written[0])
            del written[0]
    finally:
        for temporary, _ in written:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _free(name: str, used: Set[str]) -> str:
    stem = os.path.splitext(name)[0] or name
    candidates = [stem, name, *(f"{stem}-{number}" for number in range(2, len(used) + 3))]
    free = next(candidate for candidate in candidates if candidate.lower() not in used)
    used.add(free.lower())
    return free + ".txt"


def _plain(text: str) -> str:
    """What Pillow's own letters can show."""
    return text.encode("latin-1", "replace").decode("latin-1")

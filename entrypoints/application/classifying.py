"""Pictures in batches through a session, to confidences and the likeliest classes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from jobs.pictures import softmax

from . import reading
from .results import SHEET_PICTURES
from .sessions import AT_ONCE, Session

if TYPE_CHECKING:
    import numpy as np

TOP = 5


class Answer(NamedTuple):
    """What a network says of one picture."""

    path: str
    inverted: bool
    top: List[Tuple[int, float]]
    """Class and confidence, likeliest first."""
    pixels: Optional[np.ndarray[Any, Any]]
    """As it was read; None for those that no contact sheet would show."""

    def to_json(self, classes: Sequence[str]) -> Dict[str, Any]:
        top = [{"class": classes[index], "index": index, "confidence": round(share, 6)} for index, share in self.top]
        return {"file": self.path, "class": top[0]["class"], "confidence": top[0]["confidence"],
                "inverted": self.inverted, "top": top}  # fmt: skip


def classify(session: Session, paths: Sequence[str], polarity: str = "auto", batch: int = AT_ONCE) -> List[Answer]:
    """An answer for each file; memory is that of one batch, and of small copies. JobError for what is no picture."""
    answers: List[Answer] = []
    for part in _parts(paths, batch):
        found = judged(session, [reading.read(path, session.sidecar.pictures, polarity) for path in part])
        shown = max(0, SHEET_PICTURES - len(answers))
        answers += found[:shown] + [answer._replace(pixels=None) for answer in found[shown:]]
    return answers


def judged(session: Session, read: Sequence[reading.Picture]) -> List[Answer]:
    """An answer for each picture that has been read."""
    import numpy as np

    images = session.sidecar.pictures.prepare(np.stack([picture.pixels for picture in read]))
    tops = likeliest(session.run(images))
    return [Answer(picture.path, picture.inverted, top, picture.pixels) for picture, top in zip(read, tops)]


def likeliest(logits: np.ndarray[Any, Any], count: int = TOP) -> List[List[Tuple[int, float]]]:
    """For each row, the classes with the greatest confidences; of equals, the first."""
    import numpy as np

    confidences = softmax(logits)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return [[(int(index), float(row[index])) for index in best] for row, best in zip(confidences, order)]


def timed(session: Session, paths: Sequence[str], polarity: str, batch: int) -> Tuple[List[Answer], float]:
    """The answers, and the seconds that they took."""
    begun = time.perf_counter()
    answers = classify(session, paths, polarity, batch)
    return answers, time.perf_counter() - begun


def _parts(paths: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]

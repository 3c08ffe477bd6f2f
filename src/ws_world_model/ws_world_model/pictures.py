"""Pictures to look at: real over imagined over difference, as a strip of several times and as a video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from ws_rollouts.episode import VIEWS
from ws_world_model.cases import Case
from ws_world_model.imagination import Imagined

GAIN = 4  # by which a difference is made brighter, or nobody would see it
SIDE = 128  # px, least size at which a frame is drawn
RATE = 10.0  # frames/s, as the steps were taken
_ROWS = ("real", "imagined", f"difference x{GAIN}")
_LINE, _MARGIN, _GAP = 18, 110, 2  # px
_FONT, _TEXT, _PAPER = cv2.FONT_HERSHEY_SIMPLEX, (30, 30, 30), 255


def strip(case: Case, imagined: Imagined, times: Sequence[int] | None = None) -> np.ndarray:
    """Both views at several times, one row each for real, imagined and difference: (H, W, 3) uint8 RGB.

    `times`: numbers of actions, 0 is the start and T the end; the start and six evenly spaced ones when not given.
    `imagined` is of this case alone (N = 1).
    """
    if times is None:
        times = sorted({0, *np.linspace(1, len(case), 6).round().astype(int).tolist()})
    size = _drawn_size(case)
    columns = [_column(case, imagined, t, size) for t in times]
    heads = [_label("start" if t == 0 else f"+{t}", size) for t in times]
    body = np.hstack([np.vstack((head, column)) for head, column in zip(heads, columns, strict=True)])
    names = [_label(f"{view} {row}", _MARGIN, size) for view in VIEWS for row in _ROWS]
    return np.hstack((np.vstack((_label("", _MARGIN), *names)), body))


def write_strip(path: Path, case: Case, imagined: Imagined, times: Sequence[int] | None = None) -> Path:
    """`strip` as a PNG. Raises OSError as the disk does."""
    done, data = cv2.imencode(".png", strip(case, imagined, times)[..., ::-1])
    if not done:
        raise OSError(f"{path}: PNG could not be encoded")
    path.write_bytes(data.tobytes())
    return path


def write_video(path: Path, case: Case, imagined: Imagined) -> Path:
    """Both views, real, imagined and difference side by side, at the pace of the steps.

    Returns the file: `path` with the suffix of what this machine can write, .mp4, .avi or .webp (animated). Raises
    OSError when it can write none of them.
    """
    frames = [_video_frame(case, imagined, t) for t in range(len(case) + 1)]
    for suffix, write in _WRITERS.items():
        target = path.with_suffix(suffix)
        beside = target.with_name(f".{target.name}")
        try:
            if write(beside, frames):
                return beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    raise OSError(f"{path}: no codec for a video")


def _video_frame(case: Case, imagined: Imagined, time: int) -> np.ndarray:
    size = _drawn_size(case)
    rows = np.split(_column(case, imagined, time, size), len(VIEWS))
    tiles = [np.hstack(np.split(row, len(_ROWS))) for row in rows]
    head = np.hstack([_label(name, size) for name in _ROWS])
    foot = _label(f"{case.episode.episode_id} from {case.start}: +{time} of {len(case)}", size * len(_ROWS))
    picture = np.vstack((head, *tiles, foot))
    return np.pad(picture, [(0, n % 2) for n in picture.shape[:2]] + [(0, 0)], mode="edge")  # codecs want even sizes


def _column(case: Case, imagined: Imagined, time: int, size: int) -> np.ndarray:
    """All rows at one time, one above the other."""
    tiles = []
    for view in VIEWS:
        start = case.episode.frames[view][case.start]
        real = case.frames[view][time - 1] if time else start
        guess = imagined.frames[view][0, time - 1] if time else start
        difference = np.minimum(GAIN * np.abs(np.subtract(real, guess, dtype=np.int16)), 255).astype(np.uint8)
        tiles += [_tile(picture, size) for picture in (real, guess, difference)]
    return np.vstack(tiles)


def _drawn_size(case: Case) -> int:
    """Whole multiples, so that pixels stay pixels."""
    own = case.frames[VIEWS[0]].shape[1]
    return own * -(-SIDE // own) + _GAP


def _tile(picture: np.ndarray, size: int) -> np.ndarray:
    inner = (size - _GAP, size - _GAP)
    big = cv2.resize(picture, inner, interpolation=cv2.INTER_NEAREST)
    return np.pad(big, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_PAPER)


def _label(text: str, width: int, height: int = _LINE) -> np.ndarray:
    picture = np.full((height, width, 3), _PAPER, np.uint8)
    for line, word in enumerate(text.split(" ", 1) if height > _LINE else [text]):
        cv2.putText(picture, word, (4, 13 + 16 * line), _FONT, 0.42, _TEXT, 1, cv2.LINE_AA)
    return picture


def _opencv(codec: str) -> Callable[[Path, list[np.ndarray]], bool]:
    def write(path: Path, frames: list[np.ndarray]) -> bool:
        height, width = frames[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), RATE, (width, height))
        try:
            if not writer.isOpened():
                return False
            for frame in frames:
                writer.write(np.ascontiguousarray(frame[..., ::-1]))
        finally:
            writer.release()
        return path.is_file() and path.stat().st_size > 0

    return write


def _animation(path: Path, frames: list[np.ndarray]) -> bool:
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    animation.durations = [round(1000 / RATE)] * len(frames)
    return bool(cv2.imwriteanimation(str(path), animation))


_WRITERS = {".mp4": _opencv("mp4v"), ".avi": _opencv("MJPG"), ".webp": _animation}

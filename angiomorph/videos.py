"""Grey pictures that move: MP4 and GIF."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file

UNKNOWN = 250.0  # ms a frame where nobody says: four frames a second, as subtracted runs are often taken
SHORTEST = 20.0  # ms: programs show shorter frames of a GIF more slowly
QUALITY = "14"  # x264's constant rate factor: no loss that an eye finds in grey
GREYS = 32  # of a GIF, which compresses noise badly


def check_video() -> None:
    """Raise where no MP4 can be written; nothing is imported.

    Raises:
        InputError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise InputError(
            "`kinds` mp4: expected PyAV, which writes it, found none; pip install 'angiomorph[images]', or take gif"
        )


def frame_durations(times: np.ndarray) -> list[float]:
    """Return how long each frame is shown, ms: until the next one; the last as long as the one before.

    Args:
        times: `(T,)` ms since the first frame, rising; all 0 if unknown.
    """
    steps = np.diff(times)
    if not steps.size or not (steps > 0).all():
        return [UNKNOWN] * len(times)
    return [*map(float, steps), float(steps[-1])]


def write_mp4(path: str | os.PathLike[str], frames: Iterable[np.ndarray], durations: Sequence[float]) -> None:
    """Write frames as H.264, each shown for its own time; whole or not at all.

    Args:
        path: MP4 file.
        frames: T frames `(H, W)` uint8 of one size; an odd side gets a black row or column, as the format asks.
        durations: time that each is shown, ms.

    Raises:
        InputError: PyAV is not installed, or has no H.264.
        OSError: the disk fails.
    """
    check_video()
    import av

    starts = np.rint(np.cumsum([0, *durations[:-1]])).astype(int)
    with replace_file(path) as partial, av.open(os.fspath(partial), "w", format="mp4") as container:
        try:
            stream = container.add_stream("libx264", rate=Fraction(1000))
        except (av.FFmpegError, ValueError) as error:
            raise InputError(
                "`kinds` mp4: expected a PyAV with H.264 (libx264), found none; reinstall av, or take gif"
            ) from error
        stream.pix_fmt, stream.options = "yuv420p", {"crf": QUALITY, "tune": "grain"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for start, duration, frame in zip(starts, durations, frames, strict=True):
            even = np.pad(frame, [(0, side % 2) for side in frame.shape])
            if not stream.codec_context.is_open:
                stream.height, stream.width = even.shape
            shown = av.VideoFrame.from_ndarray(even, format="gray").reformat(format="yuv420p")
            shown.pts, shown.duration, shown.time_base = int(start), round(duration), Fraction(1, 1000)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())


def write_gif(path: str | os.PathLike[str], frames: Iterable[np.ndarray], durations: Sequence[float]) -> None:
    """Write frames as a GIF that goes round, in 32 greys; whole or not at all.

    Args:
        path: GIF file.
        frames: T frames `(H, W)` uint8 of one size.
        durations: time that each is shown, ms; at least 20 are shown.

    Raises:
        OSError: the disk fails.
    """
    step = 255 / (GREYS - 1)
    pictures = (Image.fromarray(np.uint8(np.rint(np.rint(frame / step) * step))) for frame in frames)
    first = next(pictures)
    with replace_file(path) as partial:
        first.save(
            partial,
            format="GIF",
            save_all=True,
            append_images=pictures,
            duration=[max(duration, SHORTEST) for duration in durations],
            loop=0,
            optimize=True,
        )

"""Moving pictures, read back by the programs that show them."""

import importlib.util

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.registration.options import OutputOptions
from angiomorph.videos import frame_durations, write_gif, write_mp4
from tests.tools import require_package


def moving(count, shape):
    """Return frames with a dark line that goes down, on smooth grey."""
    rng = np.random.default_rng(0)
    frames = np.repeat(ndimage.gaussian_filter(rng.uniform(100, 250, shape), 4)[None], count, 0)
    for index, frame in enumerate(frames):
        frame[4 * index + 2 : 4 * index + 5] = 20
    return np.uint8(frames)


@pytest.mark.parametrize(
    ("times", "durations"),
    [
        ([0, 100, 350], [100, 250, 250]),
        ([0, 0, 0], [250, 250, 250]),
        ([0, 200, 200], [250, 250, 250]),
        ([0], [250]),
    ],
)
def test_frames_are_shown_until_the_next(times, durations):
    assert frame_durations(np.array(times, float)) == durations


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


@pytest.mark.parametrize("shape", [(64, 96), (61, 97)])
def test_an_mp4_comes_back_frame_by_frame(tmp_path, shape):
    require_package("av", "images")
    import av

    frames = moving(5, shape)
    write_mp4(tmp_path / "new" / "run.mp4", frames, [100, 250, 40, 40, 300])
    with av.open(str(tmp_path / "new" / "run.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        found = [(float(1000 * frame.pts * frame.time_base), frame.to_ndarray(format="gray")) for frame in container.decode()]
    assert [time for time, _ in found] == pytest.approx([0, 100, 350, 390, 430])
    for frame, (_, decoded) in zip(frames, found, strict=True):
        assert decoded.shape == tuple(side + side % 2 for side in shape)
        assert psnr(frame, decoded[: shape[0], : shape[1]]) > 38
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["run.mp4"]


def test_a_gif_goes_round_with_its_own_times(tmp_path):
    frames = moving(4, (40, 60))
    write_gif(tmp_path / "run.gif", frames, [100, 250, 4, 300])
    with Image.open(tmp_path / "run.gif") as found:
        assert (found.n_frames, found.info["loop"]) == (4, 0)
        times = []
        for index, frame in enumerate(frames):
            found.seek(index)
            times.append(found.info["duration"])
            assert np.abs(np.asarray(found.convert("L"), float) - frame).max() <= 255 / 31 / 2 + 1
    assert times == [100, 250, 20, 300]


def test_a_failed_video_leaves_nothing(tmp_path):
    def broken():
        yield np.zeros((8, 8), np.uint8)
        raise InputError("frame 2 cannot be read")

    with pytest.raises(InputError, match="frame 2"):
        write_gif(tmp_path / "run.gif", broken(), [100, 100])
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_an_mp4_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"`kinds` mp4: expected PyAV, .* pip install 'angiomorph\[images\]'"):
        OutputOptions(kinds=("mp4",))
    assert OutputOptions(kinds=("gif",)).kinds == ("gif",)


def test_without_its_codec_an_mp4_is_refused(tmp_path, monkeypatch):
    require_package("av", "images")
    import av

    class Container:
        """A file of a PyAV that was built without H.264."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def add_stream(self, codec, rate):
            raise ValueError(f"unknown codec {codec}")

    monkeypatch.setattr(av, "open", lambda *_, **__: Container())
    with pytest.raises(InputError, match=r"`kinds` mp4: expected a PyAV with H\.264 \(libx264\), found none; reinstall av"):
        write_mp4(tmp_path / "a.mp4", [np.zeros((32, 32), np.uint8)], [40.0])
    assert list(tmp_path.iterdir()) == []

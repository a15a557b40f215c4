"""An Orthanc of one's own: what goes in comes out, it ends with its storage, and its absence is told."""

import subprocess
import tempfile

import pydicom
import pytest

from angiomorph.dicom import read_series, write_bsa, write_dsa_run, write_key_frame
from angiomorph.dicom.encoding import Encoding
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import LN
from benchmarks.dicom import orthanc
from tests.dicom_tools import run_tool
from tests.runs import moving_frames
from tests.tools import require_tool


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """Have temporary folders made where the test sees them."""
    require_tool("Orthanc")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.slow
def test_every_kind_of_image_comes_back_as_it_went(own_folder, tmp_path, xa_file):
    series = read_series(xa_file(frames=moving_frames((3, 48, 32))))
    bsa = series.frames.astype("f4") / 4096
    made = {"units": LN, "model_name": "any", "model_sha256": "0" * 64, "hyper": 0.5, "background_numbers": [1]}
    for save_class in ("classic", "enhanced"):
        write_bsa(tmp_path / f"{save_class}.dcm", series, bsa, **made, encoding=Encoding(save_class=save_class))
    write_dsa_run(tmp_path / "dsa.dcm", series, [1])
    write_key_frame(tmp_path / "key.dcm", series, bsa[2], number=3, units=LN, hyper=0.5)
    names = ("classic.dcm", "enhanced.dcm", "dsa.dcm", "key.dcm")
    with orthanc.running() as server:
        paths = [tmp_path / name for name in names]
        done = run_tool("storescu", "-xe", "-to", "20", "-ta", "20", "-td", "20", "127.0.0.1", str(server.dicom), *paths)
        assert done.returncode == 0, done.stderr
        for path in paths:
            sent = pydicom.dcmread(path)
            (tmp_path / "back.dcm").write_bytes(server.fetch(str(sent.SOPInstanceUID)))
            back = pydicom.dcmread(tmp_path / "back.dcm")
            assert (back == sent, back.PixelData == sent.PixelData) == (True, True), path.name
        assert server.fetch("1.2.3") == b""
    assert list(own_folder.iterdir()) == []


@pytest.mark.slow
def test_it_is_ended_whatever_happens_inside(own_folder, monkeypatch):
    started = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **options: started.append(start(*given, **options)) or started[0])
    with pytest.raises(ZeroDivisionError), orthanc.running():
        raise ZeroDivisionError
    assert started[0].poll() is not None
    assert list(own_folder.iterdir()) == []


def test_its_absence_is_told(monkeypatch):
    monkeypatch.setattr(orthanc, "find_program", lambda: None)
    with pytest.raises(InputError, match="install the Debian package orthanc"), orthanc.running():
        pass

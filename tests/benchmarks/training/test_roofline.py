"""Operations and bytes by hand, and the forward count against TensorFlow's profiler."""

import pytest

from angiomorph.networks.model import AngioMorph
from benchmarks.training import roofline
from benchmarks.training.roofline import Cost, Gpu


def test_convolution_by_hand():
    cost = roofline.convolution("c", pixels=100, inputs=2, outputs=3, taps=9, first=False, activated=False)
    assert cost.forward == 2 * 100 * 2 * 3 * 9
    assert cost.flops == 3 * cost.forward
    first = roofline.convolution("c", pixels=100, inputs=2, outputs=3, taps=9, first=True, activated=False)
    assert first.flops == 2 * cost.forward
    assert cost.bytes - first.bytes == 4 * 100 * 2


def test_a_part_takes_the_longer_of_computing_and_moving():
    gpu = Gpu("made up", tflops=1.0, bandwidth=1.0, compute=0.5, memory=0.5)
    assert Cost("computes", 0, 1e12, 1e8, 1).seconds(gpu) == pytest.approx(2.0)
    assert Cost("moves", 0, 1e9, 1e9, 1).seconds(gpu) == pytest.approx(2.0)


def test_short_steps_wait_for_the_launches():
    gpu = Gpu("made up", tflops=1.0, bandwidth=1.0, launch_us=100.0)
    assert roofline.ms_per_frame([Cost("short", 0, 1, 1, 30)], gpu, batch=3) == pytest.approx(1.0)


@pytest.mark.slow
def test_count_is_that_of_tensorflows_profiler():
    model = AngioMorph((32, 32))
    counted, profiled = roofline.doubled_flops(model, 1), roofline.profiled_flops(model)
    assert counted == pytest.approx(2 * 29_268 * 32 * 32)  # products a pixel of the paper's U-Net, by hand
    assert counted < profiled < 1.05 * counted  # the profiler adds biases, pooling and the warp


def test_unusable_batch_is_refused(capsys):
    assert roofline.main(["--batch", "0"]) == 2
    assert "--batch: expected whole numbers from 1, got 0" in capsys.readouterr().err

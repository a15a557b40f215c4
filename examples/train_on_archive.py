"""Train on a DICOM archive: python examples/train_on_archive.py ARCHIVE MODEL_DIR"""

from __future__ import annotations

import sys
from pathlib import Path

import angiomorph as am


def main(archive: str, model_dir: str, config: am.TrainingConfig | None = None) -> Path:
    """Prepare a training store from `archive`, train on it into `model_dir`, and return the model's file."""
    store = Path(model_dir) / "archive.h5"
    report = am.prepare([archive], store, size=512)
    print(f"{report.taken} runs taken, {len(report.left_out)} left out")
    return am.train([store], Path(model_dir), config or am.TrainingConfig(image_loss="vle", epochs=10))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))

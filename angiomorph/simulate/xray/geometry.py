"""The C-arm's cone beam and the head's rigid pose, in millimetres and degrees about the isocentre.

World axes as in `anatomy`: x to the patient's right, y anterior, z superior; the isocentre is the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CArm:
    """A cone beam of one acquisition.

    Args:
        source_detector: DistanceSourceToDetector, mm.
        source_isocentre: DistanceSourceToPatient, mm.
        primary: PositionerPrimaryAngle, degrees, 0 with the detector in front of the patient, +90 at the left side (LAO).
        secondary: PositionerSecondaryAngle, degrees, + cranial.
        rows: detector rows.
        columns: detector columns.
        pixel_spacing: ImagerPixelSpacing, mm at the detector.

    Source:
        DICOM PS3.3 C.8.7.5 (XA Positioner).
    """

    source_detector: float
    source_isocentre: float
    primary: float
    secondary: float
    rows: int
    columns: int
    pixel_spacing: float

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors from the source to the detector, along its rows (to higher columns) and along its columns (down)."""
        p, s = np.radians(self.primary), np.radians(self.secondary)
        beam = np.array([-np.sin(p) * np.cos(s), np.cos(p) * np.cos(s), np.sin(s)])
        right = np.array([-np.cos(p), -np.sin(p), 0.0])
        return beam, right, np.cross(-beam, right)

    def rays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Source, centre of pixel [0, 0], and the steps to the next column and the next row, mm, each `(3,)`."""
        beam, right, down = self.axes()
        source = -self.source_isocentre * beam
        centre = source + self.source_detector * beam
        corner = centre - self.pixel_spacing * ((self.columns - 1) / 2 * right + (self.rows - 1) / 2 * down)
        return source, corner, self.pixel_spacing * right, self.pixel_spacing * down


def rotation(pose: np.ndarray) -> np.ndarray:
    """Rotation matrix `Rz Ry Rx` of a pose.

    Args:
        pose: `(6,)` degrees about x, y, z (right-handed), then mm along x, y, z; a head point x moves to `R x + t`.

    Returns:
        `(3, 3)` float64.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(pose[:3])), np.sin(np.radians(pose[:3]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x

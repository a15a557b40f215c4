"""From materials in space to a stored frame: geometry, rays, spectrum, detector."""

"""Simulated angiographic runs with exact truth, projected from CT (needs the `simulate` extra: numba, nibabel)."""

"""Simulated angiographic runs with exact truth, projected from CT; to run it needs the packages of the extra `simulate`."""

"""Figures of merit on arrays; NumPy only."""

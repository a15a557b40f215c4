"""From stored values to [0, 1], and which frames are the background; NumPy only."""

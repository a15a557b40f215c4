"""Pages in one file: they open from disk, run no script but their own, and fetch nothing (no TensorFlow)."""

"""Files on disk, whole or not at all; the only user of h5py's data; no TensorFlow."""

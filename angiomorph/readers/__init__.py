"""A reader study: blinded pages that people judge, and the statistics of their answers. Without TensorFlow."""

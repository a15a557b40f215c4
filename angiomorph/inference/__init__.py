"""A trained network without TensorFlow: its weights at one λ, and its pyramid in OpenVINO."""

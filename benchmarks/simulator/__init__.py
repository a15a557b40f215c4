"""The simulator's speed and realism, and the volumes that it projects."""

"""From stores to a model."""

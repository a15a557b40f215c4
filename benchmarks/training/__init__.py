"""What a training step costs, and what losses and lengths do."""

"""What surrounds the network: the choice of background, and reach."""

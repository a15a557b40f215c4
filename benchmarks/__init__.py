"""AngioMorph beside the registrations that others offer, on simulated runs with known truth."""

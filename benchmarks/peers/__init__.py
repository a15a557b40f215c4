"""AngioMorph beside other registrations, on simulated runs."""

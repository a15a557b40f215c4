"""What is projected: anatomy, its materials and its motion."""

"""AngioMorph: motion-free background-subtraction angiography with unsupervised deformable registration."""

__version__ = "0.1.0"

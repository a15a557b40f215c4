"""One run or many, to files."""

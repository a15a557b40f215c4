"""The page on which people look at a run: its files, what it is told, and the server on this machine."""

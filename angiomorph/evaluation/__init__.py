"""Scores, tables and curves."""

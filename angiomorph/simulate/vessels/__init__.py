"""Vessels and the contrast agent in them."""

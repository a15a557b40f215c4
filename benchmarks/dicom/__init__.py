"""Other programs' view of what is written; damaged and malicious input."""

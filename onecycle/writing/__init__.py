"""How numbers, names from elsewhere, and pages are written for people."""

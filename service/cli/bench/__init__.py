"""`podium bench`: its loads, and what it measures."""

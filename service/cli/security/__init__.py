"""`podium audit security`: the trail and how things stand, read, counted and judged."""

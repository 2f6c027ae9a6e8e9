"""`podium demo`: the whole of Podium at work on one machine."""

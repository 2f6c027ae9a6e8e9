"""Workflows from a file to their end: started, followed, drawn, listed, read event by event, replayed."""

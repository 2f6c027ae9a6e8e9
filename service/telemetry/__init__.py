"""Traces, metrics and what serves them, made from the events that the log recorded."""

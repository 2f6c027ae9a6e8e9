"""Podium: run the tool calls of AI agents durably."""

"""The service: runs workflows of tool calls over an event log."""

"""Runs the domain over the log: mailboxes, dispatch, timers, recovery."""

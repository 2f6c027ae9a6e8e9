"""Where tools run: the sessions of executors."""

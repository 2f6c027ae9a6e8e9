"""The `podium` command: a client of the service's contract, and the way to start the service itself."""

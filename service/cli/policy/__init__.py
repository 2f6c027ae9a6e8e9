"""`podium policy`: a policy in a file, its cases, its changes, and whom it grants everything."""

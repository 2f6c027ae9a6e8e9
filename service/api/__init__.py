"""The gRPC edge: one servicer a file, interceptors, one table from error to status."""

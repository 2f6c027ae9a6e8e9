"""What an operator does: runs the service, and looks after its log, its database and its read models."""

"""Tools for the one who calls them and the one who serves them: lists, guides, calls, executors, the built-in ones."""

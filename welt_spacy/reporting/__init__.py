"""What can be said about a pipeline, as plain data and as a page."""

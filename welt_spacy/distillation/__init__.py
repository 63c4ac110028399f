"""A small model taught by a large one."""

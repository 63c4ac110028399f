"""A trained pipeline on its way to users: tuned, optimized, described, pushed."""

"""Language models tuned on docs."""

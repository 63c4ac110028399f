"""A pipeline behind an address."""

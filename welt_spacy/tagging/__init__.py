"""Tags, decoding, gold tags and soft labels, on arrays."""

"""Building blocks without NLP: files, folders, fingerprints, YAML, arrays."""

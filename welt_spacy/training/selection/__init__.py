"""Select training documents."""

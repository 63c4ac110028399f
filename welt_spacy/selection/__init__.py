"""Which examples to train on."""

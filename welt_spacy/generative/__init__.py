"""Named entity recognition by language models that answer in JSON."""

"""Named entity recognition with language models that respond in JSON."""

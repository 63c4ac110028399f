"""The component `welt_ner` and its tokenizer."""

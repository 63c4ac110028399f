"""Selection of training documents: scores, strategies and a report."""

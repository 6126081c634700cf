"""What a collection hides, and what memory alone can score on it."""

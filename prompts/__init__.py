"""Text that people edit without touching code: the vocabulary, its packs, the prompts."""

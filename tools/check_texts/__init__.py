"""The check of texts, pages and names: ``python -m tools.check_texts`` prints each fault with its file and line."""

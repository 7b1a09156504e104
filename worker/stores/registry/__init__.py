"""The registry in SQL: accounts, tokens, consents, outcomes, completeness, notices."""

"""The registry in SQL: accounts with their consents, tokens and outcomes, households, operators, notices, outputs."""

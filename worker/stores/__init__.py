"""Stores: measures, the registry, Redis, and the encryption of tokens."""

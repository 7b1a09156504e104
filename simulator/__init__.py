"""Simulator of the Enedis Data Connect APIs: for trying Relève without a contract, and for tests."""

"""Gateways that pass on the answers of Enedis to the holder of a token, such as conso-api."""

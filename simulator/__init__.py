"""Simulator of the APIs of Enedis (Data Connect), GRDF (ADICT) and a gateway: for tests, and to try Relève."""

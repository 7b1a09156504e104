"""Fault drill: kills and cuts off real processes at random, then compares the store with what the meters measured."""

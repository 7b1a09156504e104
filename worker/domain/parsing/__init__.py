"""Suppliers' answers to readings: units and time stamps are turned here, once."""

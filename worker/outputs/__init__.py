"""Outputs, the receivers of changed measures: Home Assistant, MQTT brokers, time series databases and webhooks."""

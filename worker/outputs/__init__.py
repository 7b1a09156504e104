"""Outputs, to which changed measures are sent, such as Home Assistant, MQTT, time series databases and webhooks."""

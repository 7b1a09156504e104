"""Outputs: where measures are sent when they change, such as Home Assistant, MQTT, time series and webhooks."""

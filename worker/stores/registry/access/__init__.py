"""What lets a browser in, and who does what: access keys, operators, the audit log."""

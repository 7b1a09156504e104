"""The build of a release in dist/, without publishing anything: `make release VERSION=…`."""

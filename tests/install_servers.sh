#!/bin/sh
# Installs what the tests need from npm into .test-servers/, where npm is present: the CouchDB-protocol server, and
# axe-core, which finds in the browser tests what keeps people from using a page.
# Quick when they are there already; a broken-off installation is done again.
set -eu
cd "$(dirname "$0")/.."
packages="pouchdb-server@4.2.0 axe-core@4.14.1"
done=".test-servers/$(echo "$packages" | tr ' ' '+').installed"

[ -e "$done" ] && exit 0
if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not here: tests against a CouchDB-protocol server, and those by axe, will be skipped" >&2
    exit 0
fi
mkdir -p .test-servers
# All in one command: npm deletes what it isn't told of.
# shellcheck disable=SC2086
npm install --prefix .test-servers --no-audit --no-fund --no-save --loglevel=error $packages
touch "$done"

#!/bin/sh
# Installs the CouchDB-protocol server that the tests use into .test-servers/, where npm is present.
# Quick when it is there already; a broken-off installation is done again.
set -eu
cd "$(dirname "$0")/.."
package=pouchdb-server@4.2.0
done=".test-servers/$package.installed"

[ -e "$done" ] && exit 0
if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not here: tests against a CouchDB-protocol server will be skipped" >&2
    exit 0
fi
mkdir -p .test-servers
npm install --prefix .test-servers --no-audit --no-fund --no-save --loglevel=error "$package"
touch "$done"

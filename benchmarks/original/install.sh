#!/bin/sh
# Installs the original konnector's library, as package-lock.json pins it, into .test-servers/original/.
# Quick when it is there already; a broken-off installation, or one of another lock file, is done again.
#
# The library asks for "geco" from a Git server: package.json names the same package's release of the registry instead
# (it fills forms, no line of it runs here).  Peers are left out (--legacy-peer-deps), for cozy-client wants React Native
# and, from a Git server, a part of Android.  No script of a package is run.
set -eu
cd "$(dirname "$0")/../.."
here=benchmarks/original
into=.test-servers/original

if [ -e "$into/.installed" ] && cmp -s "$here/package-lock.json" "$into/.installed"; then exit 0; fi
if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not here: install Node.js with npm first (Debian: apt-get install nodejs npm)" >&2
    exit 1
fi
mkdir -p "$into"
rm -f "$into/.installed"
cp "$here/package.json" "$here/package-lock.json" "$into/"
(cd "$into" && npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund --loglevel=error)
cp "$here/package-lock.json" "$into/.installed"

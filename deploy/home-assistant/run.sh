#!/bin/sh
# Starts Relève for one home in Home Assistant's app. Everything is kept in /data, which its backups contain.
# SUPERVISOR_TOKEN comes from the Supervisor with each start; the output reads it from the environment.
set -eu
data=${ADDON_DATA:-/data}
user=10001 # As in Relève's Dockerfile.

option() {
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]) or "")' "$data/options.json" "$1"
}

as_releve() {
  setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"
}

export RELEVE_HOME=true RELEVE_DATA_DIR="$data/releve" HOME="$data/releve"
language=$(option language)
[ "$language" = en ] && export LANG=en_GB.UTF-8 || export LANG=fr_FR.UTF-8
RELEVE_RTE_CLIENT_ID=$(option rte_client_id)
RELEVE_RTE_CLIENT_SECRET=$(option rte_client_secret)
export RELEVE_RTE_CLIENT_ID RELEVE_RTE_CLIENT_SECRET # Empty is unset.
mkdir -p "$RELEVE_DATA_DIR"
chown -R "$user:$user" "$RELEVE_DATA_DIR"
cd "$RELEVE_DATA_DIR"

as_releve releve migrate

token=$(option token)
if [ -n "$token" ]; then
  # A wrong token is one line in the log; the pages start all the same, and what is stored stays.
  printf '%s\n' "$token" | as_releve releve home add --token - || true
fi

if [ ! -e password-made ] || [ "$(option new_password)" = True ]; then
  echo "Password of the pages, shown once:"
  as_releve releve home password
  touch password-made
fi

if ! as_releve releve outputs list --json | grep -q '"kind": *"home-assistant"'; then
  as_releve releve outputs add home-assistant --no-check --url ws://supervisor/core/websocket \
    --option "language=${language:-fr}" </dev/null
fi

exec setpriv --reuid="$user" --regid="$user" --clear-groups -- releve up --no-log-files --host 0.0.0.0

#!/bin/sh
# Run what needs no server on the other Pythons that we support. $1 is the Python that has run all tests.
# A missing Python is left out; in CI the oldest and the newest of them must be there. OTHER_PYTHONS names others, or none.
set -eu

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

tested=$(version_of "$1")
for version in ${OTHER_PYTHONS-3.11 3.12 3.13}; do
  if [ "$version" = "$tested" ]; then continue; fi
  found=
  for candidate in "python$version" /usr/bin/python3 python3; do
    if [ "$(version_of "$candidate")" = "$version" ]; then
      found=$candidate
      break
    fi
  done
  if [ -n "$found" ]; then
    echo "Python $version:"
    TEST_PROFILE=desk ${MAKE:-make} --no-print-directory PYTHON="$found" VENV="build/venv-$version" \
      PLACES="tests/unit tests/golden tests/contract" quick
  elif [ -n "${CI:-}" ] && [ "$version" != 3.12 ]; then
    echo "Python $version is missing: install it" >&2
    exit 1
  else
    echo "Python $version is not here: nothing was run on it"
  fi
done

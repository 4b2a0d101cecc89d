#!/bin/sh
# Make the virtual environment $1 with Python 3.11 or 3.12, or say what is missing. The first of
# $PYTHON, python3, python3.12 and python3.11 that fits is taken.
set -eu
[ -x "$1/bin/pip" ] && exit 0
for python in ${PYTHON:-} python3 python3.12 python3.11; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  case $version in 3.11 | 3.12) ;; *) continue ;; esac
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "error: $python has no venv; install it, e.g. apt-get install python$version-venv" >&2
    exit 1
  fi
  echo "creating $1 with $python ($version)"
  rm -rf "$1"
  exec "$python" -m venv "$1"
done
echo "error: no Python 3.11 or 3.12 found; install one, or name it: make env PYTHON=/path/to/python3.12" >&2
exit 1

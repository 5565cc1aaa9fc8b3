#!/usr/bin/env bash
# Ask pip-audit whether a locked dependency is known to be vulnerable. Exit code 1: one is; 4: nobody could be asked.
#
# pip-audit is not locked with the others: it is a tool of the moment, in an environment of its own.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=build/audit
[ -x "$tools/bin/pip-audit" ] || { .venv/bin/python -m venv "$tools" && "$tools/bin/pip" install --quiet pip-audit; } || {
  echo "audit: pip-audit could not be installed; nothing was audited" >&2
  exit 4
}
code=0
for lock in requirements.lock requirements-dev.lock; do
  out=$("$tools/bin/pip-audit" --disable-pip --require-hashes --progress-spinner off --requirement "$lock" 2>&1)
  status=$?
  printf '%s\n%s\n' "== $lock" "$out"
  # A mirror of the index may have the packages and not what is known of them: pip-audit takes that for no fault.
  if grep -qE 'could not be audited|ConnectionError|ServiceError|HTTPError|Max retries|ProxyError' <<<"$out"; then
    echo "audit: the database of known vulnerabilities was not reached; $lock was NOT audited" >&2
    exit 4
  fi
  [ "$status" = 0 ] || code=1
done
exit "$code"

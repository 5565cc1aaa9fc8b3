#!/usr/bin/env bash
# Prepare this checkout: a Python, PostgreSQL with PostGIS, and .venv from the lock. Run again: nothing to do, at once.
#
#   .ci/setup.sh run      what `make demo` needs
#   .ci/setup.sh dev      what `make test` needs: also the development tools and a browser
#   .ci/setup.sh python   only print the Python that would be used
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What a caller's environment must not change about the new one.
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP VIRTUAL_ENV __PYVENV_LAUNCHER__
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0 PIP_ROOT_USER_ACTION=ignore
# Other users must be able to read what is installed, whatever the umask: PostgreSQL does not run as root.
umask 022

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 4; }

# --- Python -------------------------------------------------------------------------------------------------------

# The interpreter behind a name if it serves: at least 3.12, and able to make environments. A shim of a version that
# is not active, or a Debian Python without python3-venv, does not.
real_python() {
  "$1" -I -c 'import sys, venv, ensurepip; print(sys.executable) if sys.version_info >= (3, 12) else sys.exit(1)' 2>/dev/null
}

home_folder() {
  [ -n "${HOME:-}" ] && printf '%s\n' "$HOME"
  getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6 || true  # HOME may be empty, or another user's
}

# Folders that hold one Python per sub-folder: pyenv's versions and uv's.
version_folders() {
  local folder home
  [ -z "${PYENV_ROOT:-}" ] || printf '%s\n' "$PYENV_ROOT/versions"
  [ -z "${UV_PYTHON_INSTALL_DIR:-}" ] || printf '%s\n' "$UV_PYTHON_INSTALL_DIR"
  while IFS= read -r -d: folder; do
    case "$folder" in */shims | */pyenv/bin | */.pyenv/bin) printf '%s\n' "${folder%/*}/versions" ;; esac
  done <<<"$PATH:"
  home_folder | while IFS= read -r home; do
    printf '%s\n' "$home/.pyenv/versions" "${XDG_DATA_HOME:-$home/.local/share}/uv/python"
  done
}

candidates() {
  local name folder
  for name in python3.13 python3.12 python3.14 python3 python; do
    type -aP "$name" || true
  done
  version_folders | while IFS= read -r folder; do
    for name in "$folder"/*3.13*/bin/python3 "$folder"/*3.12*/bin/python3 "$folder"/*3.14*/bin/python3; do
      [ ! -x "$name" ] || printf '%s\n' "$name"
    done
  done
}

find_python() {
  local name found
  if [ -n "${PYTHON:-}" ]; then
    real_python "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.12 or newer that can make environments (venv)."
    return
  fi
  while IFS= read -r name; do
    if found=$(real_python "$name"); then printf '%s\n' "$found"; return; fi
  done < <(candidates)
  die "no Python 3.12 or newer was found: install python3.13 with its venv module (by apt, uv or pyenv) or set PYTHON=/path/to/python3.13."
}

# --- Debian's packages --------------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

updated=
apt_install() {
  local log
  command -v apt-get >/dev/null || die "install by hand, this is no Debian or Ubuntu: $*"
  [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || die "run as root or with sudo once: apt-get install $*"
  log=$(mktemp)
  if [ -z "$updated" ]; then
    as_root apt-get update -q >"$log" 2>&1 || { tail -n 5 "$log" >&2; say "apt-get update failed; trying with the old lists"; }
    updated=yes
  fi
  say "apt-get install $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >"$log" 2>&1 </dev/null || {
    tail -n 15 "$log" >&2; rm -f "$log"; return 1
  }
  rm -f "$log"
}

# The newest installed server's major version, when it has what is asked for: a program set, and with $1 also PostGIS.
server_version() {
  local bin major
  for bin in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5,5nr); do
    major=${bin%/bin}; major=${major##*/}
    [ -x "$bin/initdb" ] && [ -x "$bin/pg_ctl" ] && [ -x "$bin/postgres" ] || continue
    [ -z "${1:-}" ] || [ -e "/usr/share/postgresql/$major/extension/postgis.control" ] || continue
    printf '%s\n' "$major"; return
  done
  return 1
}

# Some other build's server on PATH (not Debian's layout) with PostGIS.
other_server() {
  local config
  command -v initdb >/dev/null && command -v pg_ctl >/dev/null && config=$(command -v pg_config) || return 1
  [ -e "$("$config" --sharedir)/extension/postgis.control" ]
}

install_postgis() {
  local major drop=/etc/postgresql-common/createcluster.d/sdi.conf
  if server_version postgis >/dev/null || other_server; then return; fi
  if major=$(server_version); then
    apt_install "postgresql-$major-postgis-3" || die "PostGIS for PostgreSQL $major could not be installed."
    return
  fi
  # The package would make and start a cluster of its own on port 5432; while it is installed it is told not to.
  as_root mkdir -p "${drop%/*}"
  printf 'create_main_cluster = false\n' | as_root tee "$drop" >/dev/null
  trap 'as_root rm -f '"$drop" EXIT
  apt_install postgresql postgresql-postgis || die "PostgreSQL with PostGIS could not be installed."
  as_root rm -f "$drop"
  as_root rmdir --ignore-fail-on-non-empty "${drop%/*}"
  trap - EXIT
  server_version postgis >/dev/null || die "PostgreSQL was installed but PostGIS is not beside it."
}

install_browser() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
  compgen -G '/usr/lib/*/libatomic.so.1' >/dev/null || missing+=(libatomic1)  # Playwright's driver needs it
  [ "${#missing[@]}" = 0 ] || apt_install "${missing[@]}" ||
    say "${missing[*]} could not be installed: the browser's tests will not run"
}

# --- .venv --------------------------------------------------------------------------------------------------------

# The stamp names everything the environment was made of, and where: a moved checkout is made anew.
stamp() { { pwd; cat "$1" pyproject.toml; } | sha256sum | cut -d' ' -f1; }

fresh() {
  local kind=$1
  [ -x .venv/bin/sdi ] && .venv/bin/python -c '' 2>/dev/null || return 1
  [ "$(cat .venv/stamp-dev 2>/dev/null)" = "$(stamp requirements-dev.lock)" ] && return 0  # it holds the other too
  [ "$kind" = run ] && [ "$(cat .venv/stamp-run 2>/dev/null)" = "$(stamp requirements.lock)" ]
}

make_environment() {
  local kind=$1 lock=requirements.lock python
  [ "$kind" = run ] || lock=requirements-dev.lock
  if fresh "$kind"; then return; fi
  python=$(find_python)
  say "$("$python" -V), packages of $lock"
  rm -f .venv/stamp-*
  # One that was made elsewhere or by another Python is not mended but made anew.
  if ! [ -x .venv/bin/pip ] || ! .venv/bin/pip --version >/dev/null 2>&1 || [ "$(cat .venv/base 2>/dev/null)" != "$python $PWD" ]; then
    rm -rf .venv
    "$python" -m venv .venv
    printf '%s %s\n' "$python" "$PWD" >.venv/base
  fi
  .venv/bin/python -m pip install -q --only-binary :all: --require-hashes -r "$lock" ||
    die "the packages of $lock could not be installed; the lines above say which."
  local log
  log=$(mktemp)
  .venv/bin/python -m pip install -q --no-index --no-deps --no-build-isolation --editable . >"$log" 2>&1 || { cat "$log" >&2; exit 4; }
  rm -f "$log"
  stamp "$lock" >".venv/stamp-$kind"
}

case "${1:-}" in
  python) find_python ;;
  run | dev)
    make_environment "$1"
    [ -n "${SDI_DATABASE_URL:-}${SDI_DATABASE_URL_FILE:-}${SDI_TEST_SERVER_URL:-}" ] || install_postgis
    [ "$1" = run ] || install_browser
    ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

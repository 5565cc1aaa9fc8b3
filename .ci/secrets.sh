#!/usr/bin/env bash
# Make the secret files that docker-compose.yml names, once; those that are there stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 077
mkdir -p .secrets

password() { od -An -tx1 -N24 /dev/urandom | tr -d ' \n'; }

# keep NAME CONTENT: Compose mounts the files as they are, so the containers' users must read them. The folder, which
# they never see, keeps everyone else out.
keep() {
  if [ -e ".secrets/$1" ]; then
    echo "secrets: .secrets/$1 is there already"
    return
  fi
  printf '%s' "$2" >".secrets/$1"
  chmod 0444 ".secrets/$1"
  echo "secrets: .secrets/$1 was made"
}

keep postgres_password "$(password)"
keep database_url "postgresql://sdi:$(cat .secrets/postgres_password)@postgis:5432/sdi"
keep service_url "postgresql://sdi_web:$(password)@postgis:5432/sdi"

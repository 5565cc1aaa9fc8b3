#!/usr/bin/env bash
# Make the secret files that docker-compose.yml names, once; those that are there stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 077
mkdir -p .secrets
if [ -e .secrets/postgres_password ]; then
  echo "secrets: .secrets has a password already; nothing was changed"
  exit
fi
password=$(od -An -tx1 -N24 /dev/urandom | tr -d ' \n')
printf '%s' "$password" >.secrets/postgres_password
printf 'postgresql://sdi:%s@postgis:5432/sdi' "$password" >.secrets/database_url
# Compose mounts the files as they are: the containers' users must read them. The folder, which they never see, keeps
# everyone else out.
chmod 0444 .secrets/postgres_password .secrets/database_url
echo "secrets: .secrets/postgres_password and .secrets/database_url were made"

#!/bin/sh
# Makes the role the service runs as, when the database is first created. The owner is the image's POSTGRES_USER: it
# migrates and nothing else. What the application's role may do is granted by `tagwarden db upgrade`.
set -eu
: "${TAGWARDEN_APP_PASSWORD:?the password of the application role}"
psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set=password="$TAGWARDEN_APP_PASSWORD" <<'SQL'
create role tagwarden_app login noinherit nosuperuser nocreatedb nocreaterole password :'password';
revoke all on schema public from public;
SQL

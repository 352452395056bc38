#!/bin/sh
# A database and an owner for each service, made when PostgreSQL first starts. Nobody else gets in.
set -eu

# database NAME VARIABLE: psql takes the password from that variable, as its arguments are for all to see.
database() {
    psql --set=ON_ERROR_STOP=1 --set=name="$1" --set=variable="$2" \
        --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password :variable
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

database producer PRODUCER_DB_PASSWORD
database consumer CONSUMER_DB_PASSWORD
database notifier NOTIFIER_DB_PASSWORD

# Everything here is a short name for a command that works without just.

kafka_version := "4.3.0"
kafka_port := "19092"

# Lists the recipes.
default:
    @just --list --unsorted

# The whole shop: broker, three services, SQLite in ./data.
run *arguments:
    cargo run --release -- {{ arguments }}

# One service alone, by its own .env or the environment.
producer *arguments:
    cargo run --release -p producer-svc -- {{ arguments }}

consumer *arguments:
    cargo run --release -p consumer-svc -- {{ arguments }}

notifier *arguments:
    cargo run --release -p notifier-svc -- {{ arguments }}

# The embedded broker as a program of its own.
broker *arguments:
    cargo run --release -p broker -- {{ arguments }}

# The whole suite on the embedded broker and SQLite.
test *arguments:
    cargo test --workspace {{ arguments }}

# The same suite on a running Apache Kafka (see kafka-up).
test-kafka *arguments:
    TEST_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:{{ kafka_port }} cargo test --workspace {{ arguments }}

# The same suite on a PostgreSQL of its own.
test-postgres *arguments:
    #!/usr/bin/env bash
    set -euo pipefail
    url=$(scripts/postgres start)
    trap 'scripts/postgres stop' EXIT
    TEST_DATABASE_URL=$url cargo test --workspace {{ arguments }}

# The shop's real programs under faults, at length; --help lists the scenarios.
chaos *arguments:
    cargo build --release --workspace --bins
    "${CARGO_TARGET_DIR:-target}/release/chaos" {{ arguments }}

# Everything in containers: images, .env, Kafka, PostgreSQL, the services, Kafka UI; waits until healthy.
up *arguments:
    scripts/compose up {{ arguments }}

# Takes it away; --volumes its data too.
down *arguments:
    scripts/compose down {{ arguments }}

# Follows what the containers say.
logs *services:
    scripts/compose logs {{ services }}

# What is in Kafka: its topics, and the records of one.
topics:
    scripts/compose topics

consume topic *arguments:
    scripts/compose consume {{ topic }} {{ arguments }}

# The services as static binaries, each alone in an image; amd64 or arm64, this machine's by default.
images *arch:
    scripts/static images {{ arch }}

# Both architectures' binaries as archives with checksums, in dist/.
dist:
    scripts/static archive

# Spring, confluent-kafka and kafkajs beside the shop, each by its smallest program; see docs/migration.md.
foreign *kinds:
    scripts/foreign {{ kinds }}

# Fuzzes a target (the names in fuzz/corpus) with cargo-fuzz; a finding lies in fuzz/artifacts then.
fuzz target seconds="180":
    mkdir -p fuzz/found/{{ target }}
    cd fuzz && cargo fuzz run --sanitizer none {{ target }} found/{{ target }} corpus/{{ target }} -- -max_total_time={{ seconds }} -max_len=16384 -malloc_limit_mb=512 -timeout=20

# All of them, one after the other.
fuzz-all seconds="180":
    for target in $(ls fuzz/corpus); do just fuzz $target {{ seconds }} || exit 1; done

fmt:
    cargo fmt --all

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# All that has to pass, from formatting to Apache Kafka and PostgreSQL.
ci:
    bash .ci/run

# Apache Kafka on loopback, from Maven Central; just kafka_version=3.9.1 kafka-up for the other.
kafka-up:
    scripts/kafka start {{ kafka_version }} {{ kafka_port }}

# Stops it; its data stays. `scripts/kafka wipe` deletes that too.
kafka-down:
    scripts/kafka stop {{ kafka_port }}

# kcat and the Java tools against a broker.
test-tools bootstrap=("127.0.0.1:" + kafka_port):
    scripts/test-tools {{ bootstrap }}

# The client alone beside bare rskafka, on a running Apache Kafka.
bench *arguments:
    KAFKA_BOOTSTRAP_SERVERS=${KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:{{ kafka_port }}} cargo run --release -p bench --bin client -- {{ arguments }}

# Registrations a second beside what the cores can hash, on a running Apache Kafka; DATABASE_URL names a PostgreSQL.
bench-users *arguments:
    cargo build --release -p producer-svc -p bench
    KAFKA_BOOTSTRAP_SERVERS=${KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:{{ kafka_port }}} bench/users {{ arguments }}

# Book events into the statistics, over a restart, and out again; likewise.
bench-books *arguments:
    cargo build --release -p consumer-svc
    KAFKA_BOOTSTRAP_SERVERS=${KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:{{ kafka_port }}} bench/books {{ arguments }}

# The whole shop, embedded, with its defaults: the highest rate of orders that it sustains; --help lists the options.
bench-shop *arguments:
    cargo build --release
    cargo build --release -p bench --bin shop
    "${CARGO_TARGET_DIR:-target}/release/shop" {{ arguments }}

# The services beside other order systems, on a running Apache Kafka; peers is their folder.
compare peers *arguments:
    bench/shop/build
    KAFKA_BOOTSTRAP_SERVERS=${KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:{{ kafka_port }}} bench/compare {{ peers }} {{ arguments }}

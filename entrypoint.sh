#!/usr/bin/env bash
# The names that some are used to, for scripts/compose: --build, --down, --logs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case ${1-} in
--build) shift && exec scripts/compose up "$@" ;;
--down) shift && exec scripts/compose down "$@" ;;
--logs) shift && exec scripts/compose logs "$@" ;;
*)
    echo "usage: ./entrypoint.sh --build | --down | --logs" >&2
    exit 2
    ;;
esac

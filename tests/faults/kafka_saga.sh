#!/usr/bin/env bash
# kafka_saga.sh - saga.sh with a real Kafka, which is killed and restarted on its data as well. By itself it is the
# other form of the saga than there, and in one database.
set -euo pipefail
export SAGA_STYLE=${SAGA_STYLE:-orchestrated} SAGA_DATABASES=${SAGA_DATABASES:-one}
SAGA_BROKER=kafka exec bash "$(dirname "${BASH_SOURCE[0]}")/saga.sh"

#!/usr/bin/env bash
# kafka_saga.sh - saga.sh with a real Kafka, which is killed and restarted on its data as well.
set -euo pipefail
SAGA_BROKER=kafka exec bash "$(dirname "${BASH_SOURCE[0]}")/saga.sh"

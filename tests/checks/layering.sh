#!/usr/bin/env bash
# layering.sh - includes point one way; the core takes no part in the world.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh
none() { grep -rnE --include='*.[ch]' "$@" || true; }

nothing "only relay/source includes libpq" "$(none '#include.*libpq' relay | grep -v '^relay/source/' || true)"
nothing "only relay/sink includes librdkafka" "$(none '#include.*rdkafka' relay | grep -v '^relay/sink/' || true)"
nothing "the core includes only itself, what is shared, and the C library's pure parts" \
    "$(none '^#include' relay/core | grep -vE '"(relay/core|lib/shared)/[a-z]+\.h"|<(assert|stdbool|stddef|stdint|stdlib|string)\.h>' || true)"
nothing "the core uses no clock, no chance and no I/O" \
    "$(none '\b(clock_gettime|time|rand|random|getrandom|printf|fopen|write|read|log_[a-z]+) ?\(' relay/core || true)"
nothing "source and sink do not know each other" \
    "$( (none '#include "relay/sink' relay/source; none '#include "relay/source' relay/sink))"
nothing "source and sink use of the core only fates" \
    "$(none '#include "relay/core' relay/source relay/sink | grep -vE 'core/fate\.h' || true)"
nothing "main, settings, loop and log know neither SQL nor the source" \
    "$(none '#include "relay/(source|core)' relay/main.c relay/settings*.[ch] relay/loop.c relay/log.c || true)"
nothing "only relay/http includes libmicrohttpd" "$(none '#include.*microhttpd' relay | grep -v '^relay/http/' || true)"
nothing "the HTTP thread knows no SQL, no Kafka, no core and no settings" \
    "$(none '#include "relay/(source|sink|core|settings|incidents|driver|monitor)' relay/http || true)"
nothing "of relay/http only the loop's side logs" "$(none '\blog_(error|warn|info|debug|write) ?\(' relay/http | grep -v '^relay/http/server\.c:' || true)"
nothing "metrics and verdict know nobody but affix.h" "$(none '#include "relay/' relay/metrics.[ch] relay/verdict*.[ch] | grep -vE '"relay/(metrics|verdict|verdict_inside|affix)\.(h|def)"' || true)"
nothing "the libraries include nothing of the relay" "$(none '#include.*relay/' lib include)"
nothing "liboutbox includes nothing of libinbox" "$(none '#include.*inbox' lib/outbox include/outbox.h)"
nothing "what is shared is header only and pure, but for the look-up of names" \
    "$(ls lib/shared | grep -vE '\.h$|^(hosts|lookup)\.c$' || true; none '^#include' lib/shared |
        grep -vE '^lib/shared/(hosts|lookup)\.[ch]:|<(stdbool|stddef|stdint|string)\.h>' || true)"
nothing "the look-up of names includes nothing but its own" \
    "$(grep -nE '^#include "' lib/shared/{hosts,lookup}.[ch] | grep -vE '"lib/shared/(hosts|lookup)\.h"' || true)"
nothing "of libinbox only kafka.c, kafka_properties.c, kafka_offsets.c and kafka_waits.c include librdkafka" \
    "$(none '#include.*(rdkafka|kafka_inside)' lib/inbox | grep -vE '^lib/inbox/(kafka(_offsets|_properties|_waits)?\.c|kafka_inside\.h):' || true)"
nothing "of libinbox the window, records and settings know neither database nor broker" \
    "$(grep -nE '#include.*(libpq|rdkafka|inside\.h|db\.h)' lib/inbox/{window,record,settings,array}.[ch] || true)"
nothing "the window uses no clock, no chance and no I/O" \
    "$(grep -nE '\b(clock_gettime|time|rand|random|getrandom|printf|fopen|write|read|retry_[a-z]+) ?\(' lib/inbox/window.[ch] || true)"
nothing "deadlines use the monotonic clock; the time of day serves log lines, event ids and what is shown only" \
    "$(none 'CLOCK_REALTIME|gettimeofday|[^a-z_]time\(' relay lib | grep -vE '^relay/(log|monitor|commands/(doctor_database|inbox_status)|http/process)\.c:|^lib/(outbox/(uuid|event_id)|inbox/batch)\.c:' || true)"
nothing "only main and the signal handler end the process" \
    "$(none '\b_?exit\(' relay lib/outbox lib/inbox | grep -vE '^relay/loop\.c:' || true)"
exit "$bad"

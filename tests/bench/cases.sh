# shellcheck shell=bash
# cases.sh - what the benchmark compares: the tables of cases and figures, the backlogs, and the two sides
# of a case. Sourced by tests/bench/bench, which takes the turns and the servers.
#
# A side is a command here; it prints name=value pairs, one of which is what its case compares.

# --- tables ----------------------------------------------------------------------------------------

# case | when: quick (also in QUICK=1) or full | side A | side B, or - | what it is
cases() {
    cat <<'TABLE'
drain        | quick | relay d256       | bare d256        | drain of 256 B rows with 6 headers, beside a bare producer (and reader) of the same records
drain_100    | full  | relay d100       | bare d100        | drain of 100 B rows without headers, beside a bare producer
drain_4k     | full  | relay d4k        | bare d4k         | drain of 4 KiB rows, beside a bare producer
drain_100k   | full  | relay d100k      | bare d100k       | drain of 100 kB rows, which PostgreSQL stores out of line, beside a bare producer
partitions   | full  | relay p64        | bare p64         | drain into a topic of 64 partitions, beside a bare producer of the same records
topics       | full  | relay t200       | bare t200        | drain into 200 topics, beside a bare producer of the same records
update       | quick | relay d256       | rival update d256 1       | beside UPDATE of sent_at with a partial index
skip_locked  | full  | relay d256       | rival skip_locked d256 1  | beside SELECT ... FOR UPDATE SKIP LOCKED and DELETE
delete       | quick | relay d256       | rival delete d256 20      | beside one DELETE for each row
single       | full  | relay d256       | rival single d256 100     | beside one message at a time
backlog      | quick | service big      | service small    | a large backlog, beside a small one
snapshot     | full  | service old      | service fresh    | under a snapshot that is held for the whole run, beside none
transaction  | full  | service open     | service fresh    | beside a transaction that stays open with rows of its own
latency_100  | full  | commit_to_consumer 100   | produce_to_consumer 100   | 100 rows/s: commit to consumer, beside produce to consumer
latency      | quick | commit_to_consumer 1000  | produce_to_consumer 1000  | 1,000 rows/s: commit to consumer, beside produce to consumer
latency_10k  | full  | commit_to_consumer 10000 | produce_to_consumer 10000 | 10,000 rows/s: commit to consumer, beside produce to consumer
append       | full  | append append hand 1      | the_rival | outbox_append, beside a prepared INSERT by hand of the same events
append_8     | full  | append append hand 8      | the_rival | the same with 8 clients
prepared     | full  | append prepared hand 1    | the_rival | outbox_append with prepared statements, beside the same INSERT
prepared_8   | quick | append prepared hand 8    | the_rival | the same with 8 clients
table        | full  | append hand plain 1       | the_rival | the INSERT by hand into outbox.event, beside one into a plain outbox table
table_8      | full  | append hand plain 8       | the_rival | the same with 8 clients
commits      | full  | append prepared business 1 | the_rival | a transaction with an event, beside the same without
commits_8    | full  | append prepared business 8 | the_rival | the same with 8 clients
many         | full  | append many_prepared hand_many 1 | the_rival | outbox_append_many of 1,000, beside unnest by hand
many_8       | full  | append many_prepared hand_many 8 | the_rival | the same with 8 clients
pipeline     | full  | append pipeline hand_pipeline 1  | the_rival | 100 events in a pipeline, beside the same by hand
pipeline_8   | full  | append pipeline hand_pipeline 8  | the_rival | the same with 8 clients
consume      | full  | consume libinbox | consume by_hand  | libinbox, beside a consumer by hand with the same SQL
debezium     | full  | relay d256       | debezium         | beside Debezium's outbox event router
debezium_latency | full | commit_to_consumer 1000 | debezium_latency 1000 | 1,000 rows/s: commit to consumer, beside Debezium
debezium_killed  | full | relay_killed d256 | debezium_killed | killed in the midst of a backlog and started again, beside Debezium
TABLE
}

# case | figure | how: ratio A/B, difference A-B, value of A | goal, or - | unit | its name
figures() {
    cat <<'TABLE'
drain        | rate        | ratio      | >= 0.70 | rows/s | drain / bare producer
drain        | floor_us    | ratio      | <= 1.2  | us     | relay CPU per row / bare read + bare produce
drain        | floor_us    | value      | < 10    | us     | relay CPU per row
drain        | pg_us       | value      | -       | us     | PostgreSQL CPU per row, read and marked
drain        | broker_us   | value      | -       | us     | broker CPU per row
drain        | wal_b       | value      | -       | B      | WAL per event marked
drain        | rss_mb      | value      | < 48    | MB     | relay RSS, peak
drain_100    | rate        | ratio      | -       | rows/s | drain, 100 B / bare producer
drain_4k     | rate        | ratio      | -       | rows/s | drain, 4 KiB / bare producer
drain_4k     | rss_mb      | value      | -       | MB     | relay RSS, peak, 4 KiB
drain_100k   | rate        | ratio      | -       | rows/s | drain, 100 kB / bare producer
drain_100k   | rss_mb      | value      | -       | MB     | relay RSS, peak, 100 kB
partitions   | rate        | ratio      | -       | rows/s | drain, 64 partitions / bare producer
topics       | rate        | ratio      | -       | rows/s | drain, 200 topics / bare producer
update       | rate        | ratio      | >= 1.5  | rows/s | drain / UPDATE of sent_at
skip_locked  | rate        | ratio      | -       | rows/s | drain / SKIP LOCKED and DELETE
delete       | rate        | ratio      | >= 10   | rows/s | drain / one DELETE for each row
single       | rate        | ratio      | -       | rows/s | drain / one message at a time
backlog      | rate        | ratio      | >= 0.95 | rows/s | drain, large backlog / small
backlog      | rss_after_mb | ratio     | -       | MB     | relay RSS behind a large backlog / small
backlog      | rss_mb      | value      | < 48    | MB     | relay RSS, peak, large backlog
snapshot     | rate        | ratio      | -       | rows/s | drain, old snapshot held / none
snapshot     | poll_us     | ratio      | <= 1.1  | us     | idle poll, old snapshot held / none
transaction  | rate        | ratio      | -       | rows/s | drain, transaction open / none
transaction  | poll_us     | ratio      | -       | us     | idle poll, transaction open / none
transaction  | idle_relay_ms | value    | -       | ms/s   | relay CPU when idle
transaction  | idle_pg_ms  | value      | -       | ms/s   | PostgreSQL CPU when idle
latency_100  | p50_ms      | difference | -       | ms     | 100 rows/s, p50, over bare
latency_100  | p99_ms      | difference | -       | ms     | 100 rows/s, p99, over bare
latency_100  | p999_ms     | value      | -       | ms     | 100 rows/s, p99.9, commit to consumer
latency      | p50_ms      | difference | <= 3    | ms     | 1,000 rows/s, p50, over bare
latency      | p99_ms      | difference | <= 10   | ms     | 1,000 rows/s, p99, over bare
latency      | p50_ms      | value      | -       | ms     | 1,000 rows/s, p50, commit to consumer
latency      | p99_ms      | value      | -       | ms     | 1,000 rows/s, p99, commit to consumer
latency      | p999_ms     | value      | -       | ms     | 1,000 rows/s, p99.9, commit to consumer
latency_10k  | p50_ms      | difference | -       | ms     | 10,000 rows/s, p50, over bare
latency_10k  | p99_ms      | difference | -       | ms     | 10,000 rows/s, p99, over bare
latency_10k  | p999_ms     | value      | -       | ms     | 10,000 rows/s, p99.9, commit to consumer
append       | commits     | ratio      | >= 0.97 | /s     | commits, outbox_append / by hand, 1 client
append       | wal_b       | value      | -       | B      | WAL per event appended, business row included
append_8     | commits     | ratio      | >= 0.97 | /s     | commits, outbox_append / by hand, 8 clients
prepared     | commits     | ratio      | >= 0.97 | /s     | commits, outbox_append prepared / by hand, 1 client
prepared     | cpu_us      | difference | -       | us     | CPU per commit, outbox_append prepared, over by hand
prepared_8   | commits     | ratio      | >= 0.97 | /s     | commits, outbox_append prepared / by hand, 8 clients
table        | commits     | ratio      | -       | /s     | commits by hand, outbox.event / plain table, 1 client
table        | cpu_us      | difference | -       | us     | CPU per commit by hand, outbox.event, over plain table
table_8      | commits     | ratio      | -       | /s     | commits by hand, outbox.event / plain table, 8 clients
commits      | commits     | ratio      | -       | /s     | commits, with an event / without, 1 client
commits      | cpu_us      | difference | -       | us     | CPU per commit, with an event, over without
commits_8    | commits     | ratio      | -       | /s     | commits, with an event / without, 8 clients
many         | events      | ratio      | >= 0.95 | /s     | events, outbox_append_many / unnest by hand, 1 client
many         | wal_b       | value      | -       | B      | WAL per event appended, 1,000 at once
many_8       | events      | ratio      | -       | /s     | events, outbox_append_many / unnest by hand, 8 clients
pipeline     | events      | ratio      | -       | /s     | events in a pipeline, library / by hand, 1 client
pipeline_8   | events      | ratio      | -       | /s     | events in a pipeline, library / by hand, 8 clients
consume      | rate        | ratio      | >= 0.70 | events/s | events applied, libinbox / by hand
debezium     | rate        | ratio      | >= 6    | rows/s | drain / Debezium
debezium     | relay_us    | ratio      | -       | us     | relay CPU per row / Debezium
debezium     | rss_mb      | ratio      | -       | MB     | relay RSS, peak / Debezium
debezium_latency | p50_ms  | ratio      | -       | ms     | 1,000 rows/s, p50, relay / Debezium
debezium_latency | p99_ms  | ratio      | -       | ms     | 1,000 rows/s, p99, relay / Debezium
debezium_killed  | twice   | difference | -       | records | records sent twice after kill -9, relay less Debezium
debezium_killed  | twice   | value      | -       | records | records sent twice after kill -9, relay
TABLE
}

# --- backlogs ----------------------------------------------------------------------------------------

# A database each, with the schema: name, bytes of payload, headers, partitions, topics, rows.
backlog_of() {
    case $1 in
    d256 | old | open | fresh) echo "256 6 4 1 $ROWS" ;;
    d100) echo "100 0 4 1 $ROWS" ;;
    c256) echo "256 6 4 1 $((ROWS / 5))" ;;
    d4k) echo "4096 6 4 1 $((ROWS / 5))" ;;
    d100k) echo "100000 6 4 1 $((ROWS / 150))" ;;
    p64) echo "256 6 64 1 $ROWS" ;;
    t200) echo "256 6 1 200 $ROWS" ;;
    big) echo "256 6 4 1 $BACKLOG" ;;
    small) echo "256 6 4 1 $SMALL" ;;
    plain) echo "256 0 4 1 0" ;; # a schema and a topic
    *) die "no backlog $1" ;;
    esac
}

declare -A loaded=()

dsn_of() { "$pg" conninfo "$work/pg" unix "$1"; }
sql() { PGOPTIONS='-c client_min_messages=error' psql -XqAt -v ON_ERROR_STOP=1 -d "$(dsn_of "$1")" -c "$2"; }

# Payloads are stored as they are, large ones out of line: what is read is then as large as what is sent.
store_as_it_is() {
    sql "$1" "do \$\$ begin for i in 0..7 loop
        execute format('alter table outbox.event_%s alter payload set storage external', i); end loop; end \$\$"
}

append_rows() {
    local bytes headers topics rows column
    read -r bytes headers _ topics rows < <(backlog_of "$1")
    ((rows > 0)) || return 0
    column=null
    ((headers == 0)) || column="(select jsonb_agg(jsonb_build_array('header-x', 'abcdefghijklmnopqrstuvwx'))
        from generate_series(1, $headers))"
    sql "$1" "insert into outbox.event (topic, key, type, payload, headers)
        select '$1' || case when $topics > 1 then '-' || i % $topics else '' end,
               convert_to('k' || i % 1000, 'UTF8'), 'BenchEvent', convert_to(repeat('x', $bytes), 'UTF8'), $column
        from generate_series(1, $rows) i"
}

make_topics() {
    local parts topics i
    read -r _ _ parts topics _ < <(backlog_of "$1")
    ((topics > 1)) || { "$broker" topic "$work/broker" "$1" "$parts" >/dev/null; return; }
    for ((i = 0; i < topics; i++)); do "$broker" topic "$work/broker" "$1-$i" "$parts" >/dev/null; done
}

# hold NAME DATABASE SQL: a session that stays in the transaction that SQL opens
hold() {
    local fd
    mkfifo "$work/hold.$1"
    PGAPPNAME="hold $1" psql -XqAt -d "$(dsn_of "$2")" <"$work/hold.$1" >/dev/null &
    exec {fd}>"$work/hold.$1"
    echo "$3;" >&"$fd"
    echo "select pg_advisory_lock(4711); select 1;" >&"$fd"
    wait_until 100 is_held "$1" "$2" || die "no session holds $1"
}
is_held() {
    [[ $(sql "$2" "select count(*) from pg_locks join pg_stat_activity using (pid)
        where locktype = 'advisory' and granted and application_name = 'hold $1'") == 1 ]]
}

# need SIDE...: loads the backlog that a side uses, unless it is there
need() {
    case $1 in
    relay | bare | service | relay_killed) need_backlog "$2" ;;
    rival) need_backlog "$3" ;;
    debezium*) need_backlog d256 && need_debezium ;;
    consume) need_backlog c256 && need_records ;;
    *) need_backlog plain ;;
    esac
}
need_backlog() {
    [[ -z ${loaded[$1]-} ]] || return 0
    loaded[$1]=1
    say "loading $1: $(backlog_of "$1" | awk '{ printf "%d rows of %d B, %d headers, %d topics of %d partitions", $5, $1, $2, $4, $3 }')"
    "$pg" createdb "$work/pg" "$1" >/dev/null
    "$pg" schema "$work/pg" "$1" >/dev/null
    make_topics "$1"
    store_as_it_is "$1"
    case $1 in
    old) hold old old "begin isolation level repeatable read; select count(*) from outbox.event" ;;
    open) hold open open "begin; insert into outbox.event (topic, type, payload)
            select 'open', 'Open', '' from generate_series(1, $((ROWS / 10)))" ;;
    esac
    append_rows "$1"
    sql "$1" "vacuum analyze outbox.event"
}

# What consumers read: the events of a backlog, sent once.
need_records() {
    [[ -z ${loaded[records]-} ]] || return 0
    loaded[records]=1
    relay c256 >/dev/null
    sql c256 "create table public.effect (n bigint generated always as identity, event_id text, key text,
        payload text, attempt int, pid int, at timestamptz not null default clock_timestamp())"
}

rows_of() { backlog_of "$1" | awk '{ print $5 }'; }

# unmark DATABASE: all is to be sent again
unmark() {
    sql "$1" "truncate outbox.sent"
    sql "$1" "update outbox.relay set cursor_id = 0, owner = null, lease_expires_at = null"
    sql "$1" "checkpoint"
}

# --- sides ---------------------------------------------------------------------------------------------

# pick NAME: its value among the pairs on stdin, the last one
pick() { tr ' ' '\n' | sed -n "s/^$1=//p" | tail -n 1; }
per_row() { awk -v s="$1" -v n="$2" 'BEGIN { printf "%.3f", s * 1e6 / n }'; }
use() { "$tools/usage" "pg=$(head -n 1 "$work/pg/data/postmaster.pid")" "broker=$(<"$work/broker/pid")" "$@"; }
wal() { sql "$1" "select pg_current_wal_insert_lsn() - '0/0'"; }
metric_kb() { awk -v f="$2:" '$1 == f { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }

relay_args() {
    args=(-X "dsn=$(dsn_of "$1")" -X "kafka.bootstrap.servers=$bootstrap" -X log.level=warn)
}

# The cores that others used meanwhile.
others_of() { awk -v o="$(pick others_cpu <<<"$1")" -v w="$(pick wall <<<"$1")" 'BEGIN { printf "others=%.2f", o / w }'; }

# costs PAIRS ROWS: those that all sides share, per row
costs() {
    echo "relay_us=$(per_row "$(pick cpu <<<"$1")" "$2") pg_us=$(per_row "$(pick pg_cpu <<<"$1")" "$2")" \
        "broker_us=$(per_row "$(pick broker_cpu <<<"$1")" "$2")" \
        "rss_mb=$(awk -v k="$(pick rss_kb <<<"$1")" 'BEGIN { printf "%.1f", k / 1024 }')" \
        "$(others_of "$1")"
}

# What a relay takes to start and end with nothing to do is no part of a rate.
seconds_of_a_start() {
    local args
    relay_args plain
    for _ in 1 2 3; do
        use -- "$relay" --once "${args[@]}" | pick wall
    done | sort -n | sed -n 2p
}

# A relay that starts looks at the ends of the topics first; that is not what is compared.
relay() {
    local args rows said before
    rows=$(rows_of "$1")
    unmark "$1"
    relay_args "$1"
    before=$(wal "$1")
    said=$(use -- "$relay" --once "${args[@]}" -X takeover.tail=off) || die "the relay failed"
    [[ $(sql "$1" "select count(*) from outbox.sent") == "$rows" ]] || die "$1: not all rows were marked"
    awk -v w="$(pick wall <<<"$said")" -v s="$start_s" 'BEGIN { exit w < 2 * s }' ||
        die "$1: $rows rows are too few: they took $(pick wall <<<"$said") s, and a start alone takes $start_s s"
    echo "rate=$(awk -v n="$rows" -v w="$(pick wall <<<"$said")" -v s="$start_s" 'BEGIN { print n / (w - s) }')" \
        "wal_b=$((($(wal "$1") - before) / rows)) $(costs "$said" "$rows")" \
        "floor_us=$(per_row "$(pick cpu <<<"$said")" "$rows")"
}

bare() {
    local bytes headers topics rows made read
    read -r bytes headers _ topics rows < <(backlog_of "$1")
    unmark "$1"
    made=$(use -- "$tools/bare_producer" "$bootstrap" "$1" "$rows" "$bytes" "$headers" cloudevents \
        $((topics > 1 ? topics : 0))) ||
        die "the bare producer failed"
    read=$(use -- "$tools/bare_reader" "$(dsn_of "$1")" 1000) || die "the bare reader failed"
    echo "rate=$(awk -v n="$rows" -v s="$(pick seconds <<<"$made")" 'BEGIN { print n / s }') $(costs "$made" "$rows")" \
        "read_rate=$(awk -v n="$rows" -v s="$(pick seconds <<<"$read")" 'BEGIN { print n / s }')" \
        "floor_us=$(awk -v a="$(pick cpu <<<"$made")" -v b="$(pick cpu <<<"$read")" -v n="$rows" 'BEGIN { printf "%.3f", (a + b) * 1e6 / n }')"
}

# rival WAY DATABASE SHARE: of one in SHARE of its rows, in a plain outbox table
rival() {
    local rows said
    sql "$2" "create schema if not exists rival; drop table if exists rival.event;
        create table rival.event (id bigserial primary key, created_at timestamptz not null default now(),
            event_id uuid not null, schema_version int not null, topic text not null, key bytea, type text not null,
            content_type text, payload bytea, headers json, sent_at timestamptz);
        insert into rival.event (event_id, schema_version, topic, key, type, payload, headers)
            select event_id, schema_version, topic, key, type, payload, headers from outbox.event
            order by id limit $(($(rows_of "$2") / $3));
        create index on rival.event (id) where sent_at is null"
    sql "$2" "vacuum analyze rival.event"
    sql "$2" "checkpoint"
    said=$(use -- "$tools/rival" "$1" "$(dsn_of "$2")" "$bootstrap") || die "the rival $1 failed"
    rows=$(pick rows <<<"$said")
    ((rows == $(rows_of "$2") / $3)) || die "the rival $1 sent $rows rows"
    echo "rate=$(awk -v n="$rows" -v s="$(pick seconds <<<"$said")" 'BEGIN { print n / s }') $(costs "$said" "$rows")"
}

# consume SIDE: all events of a topic, from its beginning, once each. A handler that inserts a row, the event's id
# and the position, several events in a transaction: libinbox's own choice, 64 by hand. The rate is from the first
# effect to the last.
consume() {
    local rows said
    rows=$(rows_of c256)
    sql c256 "truncate public.effect, inbox.position, inbox.seen, inbox.consumer; drop table if exists bare_seen, bare_position"
    sql c256 "checkpoint"
    said=$("consume_$1" "$rows") || die "the consumer failed: $(tail -n 2 "$work/worker.log")"
    [[ $(sql c256 "select count(*), count(distinct event_id) from public.effect") == "$rows|$rows" ]] ||
        die "$1: not each event was applied once"
    echo "$(sql c256 "select 'rate=' || count(*) / extract(epoch from max(at) - min(at)) from public.effect") $(others_of "$said")"
}
consume_libinbox() {
    local pid
    "$tools/inbox_worker" "$(dsn_of c256)" "$bootstrap" c256 group "consume-$SECONDS-$RANDOM" 2>"$work/worker.log" >&2 &
    pid=$!
    use "worker=$pid" -- timeout 600 bash -c 'until [[ $(psql -XqAt -d "$1" -c "$2") == "$3" ]]; do sleep 0.3; done' _ \
        "$(dsn_of c256)" "select sum(next_offset) from inbox.position" "$1" || return 1
    end_process "$pid" 60
    wait "$pid"
}
consume_by_hand() {
    use -- timeout 600 "$tools/bare_consumer" "$(dsn_of c256)" "$bootstrap" c256 "$1" 2>"$work/worker.log"
}

start_service() {
    local args
    relay_args "$1"
    port=$(free_port)
    "$relay" "${args[@]}" -X takeover.tail=off -X "http.listen=127.0.0.1:$port" 2>>"$work/relay.log" &
    relay_pid=$!
    wait_until 20 leads "$1" || die "the relay does not lead: $(tail -n 2 "$work/relay.log")"
}
leads() { [[ $(sql "$1" "select count(*) from outbox.relay where owner is not null") == 1 ]]; }
stop_service() {
    end_process "$relay_pid" 30
    wait "$relay_pid" || die "the relay ended badly: $(tail -n 2 "$work/relay.log")"
    relay_pid=
}
# scraped NAME-PATTERN: the sum of what the relay's metrics say
scraped() { curl -fsS "http://127.0.0.1:$port/metrics" | awk -v p="^$1" '$0 ~ p { n += $2 } END { printf "%.9f", n }'; }
all_acked() { awk -v a="$(scraped outbox_relay_rows_acked_total)" -v n="$1" 'BEGIN { exit a < n }'; }

# A relay as a service: it drains the backlog, and then has nothing to do. The rate is that of the marks,
# from the first batch on.
service() {
    local rows sum count said after
    rows=$(rows_of "$1")
    unmark "$1"
    start_service "$1"
    wait_until 3600 all_acked "$rows"
    wait_until 60 marked "$1" "$rows"
    sum=$(scraped 'outbox_relay_db_query_seconds_sum.*read') count=$(scraped 'outbox_relay_db_query_seconds_count.*read')
    said=$(use "relay=$relay_pid" -- sleep "$IDLE_SECONDS")
    after="rss_mb=$(metric_kb "$relay_pid" VmHWM) rss_after_mb=$(metric_kb "$relay_pid" VmRSS)"
    echo "$(sql "$1" "with s as (select sent_at, count(*) as n from outbox.sent group by 1)
            select 'rate=' || (sum(n) - (array_agg(n order by sent_at))[1]) / greatest(extract(epoch from max(sent_at) - min(sent_at)), 1e-6) from s")" \
        "$after poll_us=$(awk -v a="$sum" -v b="$(scraped 'outbox_relay_db_query_seconds_sum.*read')" \
            -v m="$count" -v n="$(scraped 'outbox_relay_db_query_seconds_count.*read')" 'BEGIN { print (b - a) * 1e6 / (n - m) }')" \
        "idle_relay_ms=$(awk -v c="$(pick relay_cpu <<<"$said")" -v s="$IDLE_SECONDS" 'BEGIN { print c * 1000 / s }')" \
        "idle_pg_ms=$(awk -v c="$(pick pg_cpu <<<"$said")" -v s="$IDLE_SECONDS" 'BEGIN { print c * 1000 / s }')" \
        "$(others_of "$said")"
    stop_service
}
marked() { [[ $(sql "$1" "select count(*) from outbox.sent") == "$2" ]]; }

commit_to_consumer() {
    local said
    sql plain "truncate outbox.event, outbox.sent"
    unmark plain
    start_service plain
    said=$(use "relay=$relay_pid" -- "$tools/latency" relay "$bootstrap" plain "$1" "$LATENCY_SECONDS" "$(dsn_of plain)") ||
        die "not all that was committed was consumed"
    stop_service
    echo "$said $(others_of "$said")"
}
produce_to_consumer() {
    local said
    said=$(use -- "$tools/latency" bare "$bootstrap" plain "$1" "$LATENCY_SECONDS") ||
        die "not all that was produced was consumed"
    echo "$said $(others_of "$said")"
}

# append WAY RIVAL CLIENTS: both take turns within the one program; what it says of the rival, the_rival says.
append() {
    local said
    said=$(use -- "$tools/append" "$@" "$APPEND_SECONDS" "$(dsn_of plain)") || die "appending failed"
    sed -n 2p <<<"$said" >"$work/rival"
    echo "$(sed 2d <<<"$said") $(others_of "$said")"
}
the_rival() { cat "$work/rival"; }

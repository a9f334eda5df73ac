# shellcheck shell=bash
# debezium.sh - Debezium's outbox event router (Kafka Connect, standalone) as a rival: the same number of rows
# with the same payload and as many headers, the same broker, a PostgreSQL of its own with wal_level=logical.
# Sourced by tests/bench/bench. Settings are Debezium's own but for what the outbox needs, for acks=all and for
# a shorter poll.interval.ms, without which its latency is half a second.

debezium_version=3.4.0.Final
debezium_cache=$root/.cache/debezium/$debezium_version

# What Connect, the connector and their logging need, from Maven Central, once.
debezium_fetch() {
    [[ ! -e $debezium_cache/complete ]] || return 0
    rm -rf "$debezium_cache"
    mkdir -p "$debezium_cache"
    cat >"$debezium_cache/pom.xml" <<POM
<project><modelVersion>4.0.0</modelVersion>
  <groupId>test</groupId><artifactId>debezium-cp</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>connect-runtime</artifactId><version>4.1.1</version>
    </dependency>
    <dependency>
      <groupId>io.debezium</groupId>
      <artifactId>debezium-connector-postgres</artifactId><version>$debezium_version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId><version>2.25.3</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-core</artifactId><version>2.25.3</version>
    </dependency>
  </dependencies>
</project>
POM
    (cd "$debezium_cache" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$debezium_cache/libs" >"$debezium_cache/fetch.log" 2>&1) || return 1
    : >"$debezium_cache/complete"
}

debezium_why_not() {
    local need
    for need in java mvn kcat; do
        command -v "$need" >/dev/null || { echo "$need is not installed"; return; }
    done
    [[ $kind == kafka ]] || { echo "it needs a real Kafka"; return; }
    debezium_fetch || echo "fetching it by mvn failed: $(grep -m 1 ERROR "$debezium_cache/fetch.log" || tail -n 1 "$debezium_cache/fetch.log")"
}

dbz_sql() { psql -XqAt -v ON_ERROR_STOP=1 -d "$("$pg" conninfo "$work/pgd" tcp)" -c "$1"; }

write_connect_settings() {
    local i placement=type:header:eventType
    for i in 1 2 3 4 5 6; do placement+=,h$i:header:header-x$i; done
    cat >"$work/dbz/worker.properties" <<PROPS
bootstrap.servers=$bootstrap
listeners=http://127.0.0.1:$(free_port)
offset.storage.file.filename=$work/dbz/offsets
offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
producer.acks=all
producer.linger.ms=1
PROPS
    cat >"$work/dbz/outbox.properties" <<PROPS
name=outbox
connector.class=io.debezium.connector.postgresql.PostgresConnector
plugin.name=pgoutput
database.hostname=127.0.0.1
database.port=$(<"$work/pgd/port")
database.user=outbox
database.password=none
database.dbname=outbox
topic.prefix=bench
table.include.list=bench.outbox
publication.autocreate.mode=filtered
slot.name=bench_outbox
snapshot.mode=no_data
skipped.operations=u,d,t
tombstones.on.delete=false
poll.interval.ms=5
transforms=outbox
transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
transforms.outbox.table.fields.additional.placement=$placement
value.converter=io.debezium.converters.BinaryDataConverter
key.converter=org.apache.kafka.connect.storage.StringConverter
PROPS
}

connect_start() {
    (cd "$work/dbz" && exec setsid java -Xmx1g -Dlog4j2.level=WARN -cp "$debezium_cache/libs/*" \
        org.apache.kafka.connect.cli.ConnectStandalone worker.properties outbox.properties </dev/null >>"$work/dbz/log" 2>&1) &
    echo "$!" >"$work/dbz/pid"
    wait_until 30 slot_is active || die "Debezium does not start: $(grep -m 1 -E 'ERROR|Exception' "$work/dbz/log")"
}
slot_is() { [[ $(dbz_sql "select active from pg_replication_slots") == "$([[ $1 == active ]] && echo t || echo f)" ]]; }
connect_pid() { cat "$work/dbz/pid"; }
connect_stop() {
    end_process "$(connect_pid)" 20
    wait_until 20 slot_is idle
}

# need_debezium: its database, its topics, and its slot, which knows from then on what is new
need_debezium() {
    [[ ! -e $work/dbz ]] || return 0
    mkdir "$work/dbz"
    "$pg" start "$work/pgd" wal_level=logical max_wal_size=8GB shared_buffers=512MB checkpoint_timeout=1h listen=auto >/dev/null
    dbz_sql "create schema bench; create table bench.outbox (id uuid primary key, aggregatetype text not null,
        aggregateid text not null, type text not null, payload bytea not null,
        h1 text, h2 text, h3 text, h4 text, h5 text, h6 text)"
    "$broker" topic "$work/broker" outbox.event.drain 4 >/dev/null
    "$broker" topic "$work/broker" outbox.event.latency 4 >/dev/null
    write_connect_settings
    connect_start
    connect_stop
}

debezium_stop() {
    [[ -n $work && -e $work/dbz/pid ]] || return 0
    end_process "$(connect_pid)" 5
    "$pg" remove "$work/pgd"
}

# ends_of TOPIC: how many records its partitions hold and held
ends_of() {
    kcat -b "$bootstrap" -Q -t "$1:0:-1" -t "$1:1:-1" -t "$1:2:-1" -t "$1:3:-1" | awk '{ n += $NF } END { print n + 0 }'
}
arrived() { (($(ends_of "$1") - before >= $2)); }
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

debezium_backlog() {
    before=$(ends_of outbox.event.drain)
    dbz_sql "truncate bench.outbox"
    dbz_sql "insert into bench.outbox select gen_random_uuid(), 'drain', 'k' || i % 1000, 'BenchEvent',
        convert_to(repeat('x', 256), 'UTF8'), v, v, v, v, v, v
        from generate_series(1, $1) i, (values ('abcdefghijklmnopqrstuvwx')) h (v)"
    dbz_sql checkpoint
}

# From a fifth of the rows on: a JVM that starts is no part of a rate, nor of what a row costs.
debezium() {
    local before rows first began ticks
    rows=$(rows_of d256)
    debezium_backlog "$rows"
    connect_start
    wait_until 600 arrived outbox.event.drain $((rows / 5)) || die "Debezium sends nothing"
    first=$(($(ends_of outbox.event.drain) - before)) began=$(now_ms) ticks=$(cpu_ticks "$(connect_pid)")
    wait_until 600 arrived outbox.event.drain "$rows" || die "Debezium does not send all"
    awk -v n=$((rows - first)) -v ms=$(($(now_ms) - began)) -v hz="$(getconf CLK_TCK)" \
        -v ticks=$(($(cpu_ticks "$(connect_pid)") - ticks)) -v rss="$(metric_kb "$(connect_pid)" VmHWM)" \
        'BEGIN { if (ms == 0) ms = 10; printf "rate=%.0f relay_us=%.2f rss_mb=%s\n", n * 1000 / ms, ticks / hz * 1e6 / (n > 0 ? n : 1), rss }'
    connect_stop
}

# The second time counts: a JVM is slow at first.
debezium_latency() {
    local said
    dbz_sql "truncate bench.outbox"
    connect_start
    for _ in 1 2; do
        said=$(use -- "$tools/latency" debezium "$bootstrap" outbox.event.latency "$1" "$LATENCY_SECONDS" \
            "$("$pg" conninfo "$work/pgd" tcp)") || die "not all that was committed was consumed"
    done
    connect_stop
    echo "$said $(others_of "$said")"
}

# Killed in the midst of a backlog and started again: how many records came twice?
debezium_killed() {
    local before rows
    rows=$(rows_of d256)
    debezium_backlog "$rows"
    connect_start
    wait_until 600 arrived outbox.event.drain $((rows / 2)) || die "Debezium sends nothing"
    kill -KILL "$(connect_pid)"
    wait "$!" 2>/dev/null || true # connect_start's; bash would have a word for it
    wait_until 60 slot_is idle
    connect_start
    wait_until 600 arrived outbox.event.drain "$rows" || die "Debezium does not send all"
    settled outbox.event.drain
    echo "twice=$(($(ends_of outbox.event.drain) - before - rows))"
    connect_stop
}

relay_killed() {
    local before rows args
    rows=$(rows_of "$1")
    unmark "$1"
    before=$(ends_of "$1")
    start_service "$1"
    wait_until 600 arrived "$1" $((rows / 2)) || die "the relay sends nothing"
    kill -KILL "$relay_pid"
    wait "$relay_pid" 2>/dev/null || true
    relay_pid=
    relay_args "$1"
    "$relay" --once "${args[@]}" 2>>"$work/relay.log" || die "the relay failed"
    marked "$1" "$rows" || die "not all rows were marked"
    echo "twice=$(($(ends_of "$1") - before - rows))"
}

# What still comes after all have arrived: until nothing has come for two seconds.
settled() {
    local last=-1 now
    now=$(ends_of "$1")
    while ((now != last)); do
        last=$now
        sleep 2
        now=$(ends_of "$1")
    done
}

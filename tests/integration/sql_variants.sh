#!/usr/bin/env bash
# sql_variants.sh - the migrations in the layouts of other tools, run by those tools: up, an event, down.
#
# Each tool is skipped, with the reason, where it cannot be had; what is fetched stays in .cache/migrations.
set -euo pipefail

: "${OUTBOX_TEST_BROKERS:=127.0.0.1:1}" # nobody speaks with Kafka here
# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

cache=$root/.cache/migrations
dbmate_version=2.36.0
squawk_version=2.66.0
migrate_version=v4.18.3
flyway_version=13.12.0
driver_version=42.7.8
mkdir -p "$cache"
variants=$dir/variants
holds variants_are_made make -s -C "$root" O="$variants" sql-variants
variants=$variants/sql

# Tools keep a table of their own, unqualified: in a schema named as the role if there is one, and the
# role of the cluster is called outbox.
"$pg" start "$dir/pg" listen=auto >/dev/null
port=$(<"$dir/pg/port")
psql -XqAt -d "$("$pg" conninfo "$dir/pg")" -c 'create role migrator superuser login'

# npm_binary PACKAGE VERSION NAME: package/bin/NAME of the archive becomes .cache/migrations/NAME-VERSION
npm_binary() {
    local into=$cache/$3-$2 archive
    [[ ! -x $into ]] || return 0
    command -v npm >/dev/null || { echo 'npm is not installed'; return 1; }
    archive=$(cd "$dir" && npm pack --silent "$1@$2" 2>"$dir/fetch") ||
        { echo "npm cannot fetch $1: $(last "$dir/fetch")"; return 1; }
    tar -xzf "$dir/$archive" -C "$dir" "package/bin/$3"
    chmod +x "$dir/package/bin/$3"
    "$dir/package/bin/$3" --version >"$dir/fetch" 2>&1 || { echo "$3 does not run here: $(last "$dir/fetch")"; return 1; }
    mv "$dir/package/bin/$3" "$into"
}

# fresh NAME: an empty database; $dsn and $url lead to it
fresh() {
    "$pg" createdb "$dir/pg" "$1" >/dev/null
    dsn="host=127.0.0.1 port=$port user=migrator dbname=$1"
    url="postgres://migrator@127.0.0.1:$port/$1?sslmode=disable"
}
# is_up NAME, is_down NAME: after the tool has gone that way
is_up() {
    equal "$1_applies_every_migration" "$(printf '%s\n' "$root"/sql/*.up.sql | sed 's|.*/0*\([0-9]*\)_.*|\1|' | sort -n)" \
        "$(sql 'select version from outbox.schema_version union select version from inbox.schema_version order by 1' 2>&1)"
    holds "$1_installs_what_takes_events" sql "begin; select outbox.append('t', 'k', 'x', 'p'), 1 / inbox.accept('c', 'e')::int; rollback"
}
is_down() {
    equal "$1_takes_all_of_it_away" '' \
        "$(sql "select coalesce(to_regnamespace('outbox')::text, to_regnamespace('inbox')::text, '')")"
}

# --- each tool ---

if reason=$(npm_binary @squawk-cli/linux-x64 "$squawk_version" squawk); then
    # Not for us: integers of 32 and 16 bits hold numbers that are small by nature (versions, buckets).
    holds squawk_finds_nothing_that_would_block "$cache/squawk-$squawk_version" --assume-in-transaction \
        --pg-version 13.0 -e prefer-bigint-over-int,prefer-bigint-over-smallint "$root"/sql/*.up.sql "$root"/sql/*roles.sql
else
    skip squawk "$reason"
fi

if reason=$(npm_binary @dbmate/linux-x64 "$dbmate_version" dbmate); then
    fresh dbmate
    dbmate() { "$cache/dbmate-$dbmate_version" --url "$url" --migrations-dir "$variants/dbmate" --no-dump-schema "$@"; }
    holds dbmate_goes_up dbmate up
    is_up dbmate
    # One migration each time.
    for up in "$variants"/dbmate/*.sql; do
        holds "dbmate_goes_down_once_for_${up##*/}" dbmate down
    done
    is_down dbmate
else
    skip dbmate "$reason"
fi

if perl -MDBD::Pg -e 1 2>/dev/null && command -v sqitch >/dev/null; then
    fresh sqitch
    in_sqitch() { (cd "$variants/sqitch" && TZ=UTC SQITCH_FULLNAME=test SQITCH_EMAIL=test@localhost sqitch --quiet "$1" "${@:2}" "db:pg://migrator@127.0.0.1:$port/sqitch"); }
    holds sqitch_deploys in_sqitch deploy --verify
    is_up sqitch
    holds sqitch_verifies in_sqitch verify
    holds sqitch_reverts in_sqitch revert -y
    is_down sqitch
else
    skip sqitch 'sqitch with the driver for PostgreSQL is not installed (Debian: sqitch libdbd-pg-perl)'
fi

# Flyway is a library with a program around it; the library is what Maven Central has whole.
fetch_flyway() {
    local jars=$cache/flyway-$flyway_version group
    [[ ! -e $jars/complete ]] || return 0
    command -v java >/dev/null || { echo 'java is not installed'; return 1; }
    command -v mvn >/dev/null || { echo 'Maven is not installed'; return 1; }
    mkdir -p "$dir/flyway"
    {
        printf '<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>flyway</artifactId><version>1</version><dependencies>\n'
        for group in org.flywaydb:flyway-core:$flyway_version org.flywaydb:flyway-database-postgresql:$flyway_version org.postgresql:postgresql:$driver_version; do
            IFS=: read -r a b c <<<"$group"
            printf '<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n' "$a" "$b" "$c"
        done
        printf '</dependencies></project>\n'
    } >"$dir/flyway/pom.xml"
    (cd "$dir/flyway" && mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars") >"$dir/fetch" 2>&1 ||
        { echo "Maven cannot fetch Flyway: $(last "$dir/fetch")"; return 1; }
    : >"$jars/complete"
}
if reason=$(fetch_flyway); then
    fresh flyway
    cat >"$dir/Run.java" <<'JAVA'
import org.flywaydb.core.Flyway;
class Run {
    public static void main(String[] args) {
        Flyway.configure().dataSource(args[0], "migrator", "").locations("filesystem:" + args[1]).load().migrate();
    }
}
JAVA
    holds flyway_migrates java -XX:TieredStopAtLevel=1 -cp "$cache/flyway-$flyway_version/*" "$dir/Run.java" \
        "jdbc:postgresql://127.0.0.1:$port/flyway" "$variants/flyway"
    is_up flyway
    # Undo is for its paying users: the files are run as they would, the newest first.
    for undo in $(printf '%s\n' "$variants"/flyway/U*.sql | sort -rV); do
        holds "flyway_undo_${undo##*/}_runs" psql -XqAt -v ON_ERROR_STOP=1 -1 -d "$dsn" -f "$undo"
    done
    is_down flyway
else
    skip flyway "$reason"
fi

# golang-migrate is built from its module, with the driver that the tag names. languages.sh has
# compiled Go's own packages already, into the same cache.
fetch_migrate() {
    [[ ! -x $cache/migrate ]] || return 0
    command -v go >/dev/null || { echo 'go is not installed'; return 1; }
    (cd "$dir" && GOTOOLCHAIN=local GOFLAGS=-modcacherw GOMODCACHE=$root/.cache/go/mod GOCACHE=$root/.cache/go/build CGO_ENABLED=0 GOBIN=$cache \
        timeout 240 go install -tags postgres "github.com/golang-migrate/migrate/v4/cmd/migrate@$migrate_version") >"$dir/fetch" 2>&1 ||
        { echo "golang-migrate was not built, in 240 s at most: $(last "$dir/fetch")"; return 1; }
}
if reason=$(fetch_migrate); then
    fresh golang_migrate
    holds golang_migrate_goes_up "$cache/migrate" -path "$variants/golang-migrate" -database "$url" up
    is_up golang_migrate
    holds golang_migrate_goes_down "$cache/migrate" -path "$variants/golang-migrate" -database "$url" down -all
    is_down golang_migrate
else
    skip golang_migrate "$reason"
fi
exit $bad

#!/usr/bin/env bash
# words.sh - what README, map, manual pages and --help texts name exists: paths, settings, defaults, numbers, objects
# in the database, functions, commands and their options, targets of make, variables, exit codes, states, sentences.
# What they show of a program is run elsewhere (manual.sh, integration/).
set -uo pipefail # not -e: a search that finds nothing is an answer
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh
relay=$(realpath "${OUTBOX_RELAY:-.build/outbox-relay}")
[[ -x $relay ]] || { echo "not ok - relay_is_built: $relay"; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-words.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The README without what make bench has measured; of it what is code, in a line or as a block, a piece a line.
sed '/<!-- bench: begin/,/bench: end/d' README.md >"$work/readme"
{
    tr '\n' ' ' <"$work/readme" | grep -oE '`[^`]+`' | tr -d '`'
    sed -n 's/^    //p' "$work/readme"
} >"$work/code"
pages=(relay/man/*.scd)
maps=(relay/README.md lib/README.md lib/examples/saga/README.md)

# each NAME TEST: of the lines of stdin those for which TEST line fails are what is wrong; there must be some. Not as
# the end of a pipe, or what it finds would be lost.
each() {
    local name=$1 test=$2 line wrong='' n=0
    while read -r line; do
        n=$((n + 1))
        "$test" "$line" || wrong+=" \"$line\""
    done < <(sort -u)
    if ((n == 0)); then not_ok "$name" 'nothing was found to look at'; else nothing "$name" "$wrong"; fi
}

# --- paths ----------------------------------------------------------------------------------------------

in_tree() { [[ -n $(compgen -G "${1%[.,:]}") ]]; }
paths() {
    grep -hoE '(^|[^A-Za-z0-9_./-])(include|lib|relay|sql|tests|pkgconfig)/[A-Za-z0-9_./*-]*' "$work/code"
    grep -hoE '[_(](include|lib|relay|sql|tests)/[A-Za-z0-9_./-]*[a-z]' "${pages[@]}" lib/man/*.scd
    "$relay" --help | grep -oE '\b(sql|relay)/[a-z0-9_.]*[a-z]'
}
each paths_exist in_tree < <(paths | grep -oE '(include|lib|relay|sql|tests|pkgconfig)/.*')
in_contrib() { [[ -e relay/contrib/$1 ]] || compgen -G "relay/contrib/*/$1" >/dev/null; }
each what_is_deployed_exists in_contrib < <(sed -n '/^| in `relay\/contrib/,/^$/p' "$work/readme" |
    grep -oE '`[a-z]+[a-zA-Z/.]*(/|yaml|file)`' | tr -d '`' | grep -v '^relay/contrib/$')
linked() {
    local file=${1%%#*} anchor=${1#*#}
    [[ -z $file ]] || { [[ -e $file ]]; return; }
    grep -E '^#+ ' README.md | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9\n-' | sed -E 's/^-+//' | grep -qxF -e "$anchor"
}
each links_lead_somewhere linked < <(grep -oE '\]\([^)]+\)' "$work/readme" | sed 's/^](//; s/)$//')
names=$(sed -n '/^# NAME/,/^# [^N]/p' lib/man/*.scd)
a_page() { [[ -e relay/man/$1.scd || -e lib/man/$1.scd ]] || grep -qwF -e "${1%.*}" <<<"$names"; }
manual_pages() {
    grep -hoE '\bman ([1-8] )?[a-z_-]+(\.conf)?' "$work/code" |
        sed -E 's/^man ([1-8]) (.*)/\2.\1/; s/^man (outbox-relay)$/\1.1/; s/^man (.*\.conf)$/\1.5/; s/^man (.*_.*)$/\1.3/'
    grep -hoE '\*(outbox|inbox)[a-z_.-]*\*\([1-8]\)' "${pages[@]}" lib/man/*.scd | sed -E 's/\*//g; s/\(([1-8])\)/.\1/'
}
each manual_pages_exist a_page < <(manual_pages | grep '\.[1-8]$')

# --- settings and their defaults ------------------------------------------------------------------------

{
    "$relay" --print-config 2>/dev/null | sed -n 's/ =.*//p'
    sed -nE 's/^    [A-Z]+\("([a-z.]+)".*/\1/p' lib/inbox/settings.c
} | sort -u >"$work/settings"
a_setting() {
    case $1 in
    kafka.* | max.message.bytes | min.insync.replicas | err.flags) return 0 ;; # librdkafka's, the brokers', C
    esac
    grep -qxF "$1" "$work/settings"
}
keys() {
    grep -oE '^[a-z]+(\.[a-z]+)+$' "$work/code" | grep -vE '^(inbox|outbox|roles|orders)\.|\.(c|h|sql|yaml|conf)$'
    grep -hoE '\*[a-z]+(\.[a-z]+)+\*' "${pages[@]}" | tr -d '*' | grep -v '\.yml$\|\.conf$'
    grep -hoE '\b(OUTBOX_RELAY_[A-Z_]+)' "$work/code" "${pages[@]}" -r relay/contrib | sed 's/.*OUTBOX_RELAY_//; s/_FILE$//' |
        tr 'A-Z_' 'a-z.' | grep -v '\.$'
}
each settings_exist a_setting < <(keys)

# base VALUE: 30 s, 30s, 15 min, 10,000, 16MiB as a number of milliseconds, of bytes, or as it is
base() {
    local n=${1//[ ,]/} unit
    unit=${n##*[0-9]}
    n=${n%"$unit"}
    case $unit in
    ms | '' | B) ;;
    s | second | seconds) n=$((n * 1000)) ;;
    m | min) n=$((n * 60000)) ;;
    h | hour | hours) n=$((n * 3600000)) ;;
    KiB) n=$((n * 1024)) ;;
    MiB) n=$((n * 1048576)) ;;
    *) n="$1?" ;;
    esac
    printf '%s\n' "$n"
}
value='[0-9][0-9,]* ?(ms|s|min|h|KiB|MiB)?'
# The value in brackets behind a setting's name is its default, relay's or inbox's.
default_is_true() {
    local key=${1%% *} want
    [[ $key != kafka.* ]] || return 0
    want=$("$relay" --print-config 2>/dev/null | sed -n "s/^$key = //p")
    [[ -n $want ]] || want=$(sed -nE "s/^    [A-Z]+\\(\"$key\"[^\"]*\"([^\"]*)\".*/\\1/p" lib/inbox/settings.c)
    [[ -n $want && $(base "$want") == "$(base "${1#* }")" ]]
}
each defaults_are_true default_is_true < <(grep -hoE "[*\`][a-z]+(\\.[a-z]+)*[*\`] \\($value" "$work/readme" "${pages[@]}" | tr -d '*`(')

# number NAME FILE TEXT-WITH-( ) FILE CODE-WITH-( ): the number in brackets is the same in both
number() {
    local said is
    said=$(tr '\n\t' '  ' <"$2" | sed -nE "s/.*$3.*/\\1/p")
    is=$(tr '\n' ' ' <"$4" | sed -nE "s/.*$5.*/\\1/p")
    [[ $is != *\** ]] || is=$((is))
    if [[ -n $said && -n $is && $(base "$said") == "$(base "$is")" ]]; then
        ok "$1"
    else
        not_ok "$1" "$2 says \"$said\", $4 has \"$is\""
    fi
}
v="($value)"
m=relay/man/outbox.7.scd
x=relay/man/outbox-relay-metrics.7.scd
number buckets_that_stay_whole "$m" "more than $v events, or 64 MiB, are held" sql/001_outbox.up.sql 'most_rows CONSTANT bigint := ([0-9]+)'
number bytes_that_stay "$m" "events, or $v, are held" sql/001_outbox.up.sql 'most_bytes CONSTANT bigint := ([0-9]+)'
number lock_of_a_bucket "$m" "is asked for $v at most" sql/001_outbox.up.sql "lock_timeout = '([0-9]+ms)' SET jit"
number tail_may_take "$m" "takes longer than ([0-9]+ seconds)" relay/takeover.h '#define TAKEOVER_TAIL_MS ([0-9]+)'
number topics_of_labels "$x" "topics and keys do \\($v topics" relay/metrics.h '#define METRIC_TOPICS ([0-9]+)'
number rows_counted "$x" "beyond $v waiting events" relay/source/figures_sql.h 'e.id limit ([0-9]+)\)'
number dead_looked_behind "$x" "behind the first $v dead events" relay/source/figures_sql.h "state = 'dead' limit ([0-9]+)\) h where"
number figures_watched "$x" "every ([0-9]+ seconds) while" relay/monitor.c '#define FIGURES_WATCHED_MS ([0-9]+)'
number figures_idle "$x" "else every ([0-9]+)\\b" relay/monitor.c '#define FIGURES_IDLE_MS ([0-9]+)000\b'
number payload_of_sql README.md "SQL takes payloads up to $v" sql/001_outbox.up.sql 'octet_length\(payload\)[^0-9]*([0-9]+)'

# Who copies what is shown must not get a ring in which no bucket becomes old enough.
period=$(sed -n "s/.*set_bucket_period('\([0-9]*\) hours').*/\1/p" "$m")
retention=$("$relay" --print-config 2>/dev/null | sed -n 's/^retention = \([0-9]*\)h$/\1/p')
if [[ -n $period && -n $retention ]] && ((7 * period > retention)); then
    ok bucket_period_shown_suits_the_retention
else
    not_ok bucket_period_shown_suits_the_retention "seven times \"$period\" hours, and \"$retention\""
fi

# --- the database, the libraries ------------------------------------------------------------------------

an_object() {
    grep -qE "(CREATE|VIEW|TABLE|FUNCTION|INDEX|PROCEDURE) .*\b${1//./\\.}\b" sql/*.sql lib/examples/saga/*.sql ||
        grep -qE "^COMMENT ON COLUMN ${1//./\\.}\b" sql/*.sql
}
each objects_exist an_object < <(cat "$work/code" "${pages[@]}" lib/man/*.7.scd | sed 's/\\_/_/g' | grep -oE '\b(outbox|inbox|orders)\.[a-z_]+\b' |
    grep -vE '\.(h|c|pc|service|socket|rules|yml|sql|conf|so)$|^inbox\.start$')
a_role() { grep -q "('$1'," sql/*roles.sql; }
each roles_exist a_role < <(sed -nE 's/^ *GRANT ([a-z_]+) TO.*/\1/p' README.md)
declared() { grep -qw -e "$1" include/*.h; }
each functions_and_macros_exist declared < <(grep -ohE '\b((outbox|inbox)_[a-z_]+\(\)|(OUTBOX|INBOX)_[A-Z_]+)' "$work/code" |
    tr -d '()' | grep -v '^OUTBOX_RELAY_\|^OUTBOX_$')
equal states_are_those_of_the_table \
    "$(tr '\n' ' ' <sql/001_outbox.up.sql | sed -nE "s/.*held_state_known[^(]*\(state IN \(([^)]*)\).*/\1/p" | tr -d "',")" \
    "$(sed -n '/^# WHAT DOES NOT/,/^# LEADING/s/^\*\([a-z]*\)\*$/\1/p' "$m" | tr '\n' ' ' | sed 's/ $//')"
own=$(tr '\n' ' ' <sql/001_outbox.up.sql | sed -nE "s/.*our own are ([^()]*) \(Postgre.*/\1/p" | grep -oE '[A-Z_]{5,}')
is_given() { grep -rqF "\"$1\"" --include='*.c' relay || grep -rqF "'$1'" --include='*.h' relay/source; }
each own_codes_are_given is_given <<<"$own"

# Each function has a line on what it touches.
for file in sql/001_outbox.up.sql sql/002_inbox.up.sql; do
    equal "what_functions_touch_is_told: $file" \
        "$(sed -nE 's/^CREATE (FUNCTION|PROCEDURE) [a-z]+\.([a-z_]+)\(.*/\2/p' "$file" | sort | xargs)" \
        "$(sed -n '/^-- What each touches/,/^$/p' "$file" | sed -nE 's/^--   ([a-z_]+) .*/\1/p' | sort | xargs)"
done
# What make wants elsewhere is what the Debian packages are built with.
wanted() { grep -qiE "\blib${1#lib}-dev\b|^ +$1,?$" relay/contrib/debian/control; }
each libraries_are_those_of_the_packages wanted < <(tr '\n' ' ' <"$work/readme" | sed -nE 's/.*GNU make, (.*) and, for the *manual pages, ([a-z]*);.*/\1, \2/p' |
    sed 's/([^)]*)//g; s/, */\n/g' | tr -d ' ')

# --- commands, options, exit codes ----------------------------------------------------------------------

commands=$("$relay" --help | sed -n '/^Commands/,/^Examples/s/^  \([a-z][a-z]*\)  .*/\1/p')
offers() { # "COMMAND --option"
    local command=${1%% --*}
    # shellcheck disable=SC2086 # inbox status is two words
    "$relay" ${command#run} --help | grep -E -e "--${1##* --}\b" >/dev/null # to its end, or the command fails
}
uses() { # the options of each command line that is shown
    local line command
    grep -hE '(^|[ /])outbox-relay ' "$work/code" "${pages[@]}" | sed -E 's/.*outbox-relay //; s/ #.*//; s/\*//g' |
        while read -r line; do
            command=$(grep -oE "^(inbox [a-z]+|$(tr '\n' '|' <<<"$commands")run)\b" <<<"$line") || command=run
            grep -oE -e '--[a-z][a-z-]+' <<<"$line" | sed "s/^/$command /"
        done
}
each options_exist offers < <(uses)
codes() { sed -nE 's/^ +EXIT_[A-Z_]+ = ([0-9]+).*/\1/p' relay/exit_codes.h | sort -n | tr '\n' ' '; }
equal exit_codes_of_the_page "$(codes)" \
    "$(sed -n '/^# EXIT STATUS/,/^# EX/s/^\*\([0-9]*\)\*$/\1/p' relay/man/outbox-relay.1.scd | sort -n | tr '\n' ' ')"
ends_so() { # "COMMAND": its help has exit codes, and no others than there are
    local code
    # shellcheck disable=SC2086
    for code in $("$relay" ${1#run} --help | sed -n '/^Exit codes:/,/^$/p' | grep -oE '(^|[ :])[0-9]+ ' | tr -d ' :') none; do
        [[ $code != none || -n ${last-} ]] || return 1
        [[ $code == none || " $(codes) " == *" $code "* ]] || return 1
        last=$code
    done
    unset last
}
each exit_codes_of_the_helps ends_so < <(printf '%s\n' run $commands 'inbox status' 'inbox dead' 'inbox retry' 'inbox discard' | grep -vx inbox)
a_path() { grep -qF "\"${1%%\?*}\"" relay/http/*.c relay/http/*.h; }
each paths_are_served a_path < <(sed -n '/^| path | what/,/^$/p' "$work/readme" | grep -oE '`/[a-z.]*`' | tr -d '`')

# --- make -----------------------------------------------------------------------------------------------

a_target() { grep -qE "^([a-z-]+ )*$1( [a-z-]+)*:" Makefile; }
each targets_exist a_target < <(grep -ohE '(^|; |AGAIN=0 )make( [a-z-]+)+' "$work/code" Makefile | sed 's/.*make //' | tr ' ' '\n' |
    grep -vxE 'it|check-.*')
a_variable() { grep -rqwE -e "\\\$[({]?$1|$1 \?=|\{$1" Makefile tests/check tests/demo tests/bench/bench tests/faults tests/tools; }
each variables_exist a_variable < <({
    grep -oE '\b[A-Z_]{2,}=[a-z0-9,]+' "$work/code" | sed 's/=.*//'
    sed -n '/^#   make/,/^$/p' Makefile | grep -oE '\b[A-Z_]{2,}=' | tr -d '='
} | grep -vE '^(PKG_CONFIG_PATH|LD_LIBRARY_PATH|ON_ERROR_STOP)$')

# --- what the first line says ---------------------------------------------------------------------------

# The sentences of the README's table, cut where a figure or a name stands, against the words of the verdict.
words=$(tr '\n' ' ' < <(cat relay/verdict*.c) | sed -E 's/"[[:space:]]+"//g; s/\\"/"/g')
is_said() { grep -qF -e "$1" <<<"$words"; }
each sentences_are_said is_said < <(sed -n '/^| what happened | what the first/,/^$/p' "$work/readme" | cut -d'|' -f3 |
    grep -oE '`(Events|\.\.\., but|bucket|:|[0-9]+ event)[^`]*`' | tr -d '`' | sed -E 's/\b[0-9]+( (h|min|s|event)\b)?/\n/g; s/Events do not flow: /&\n/g;
        s/\.\.\.,? ?(but )?/\n/g; s/"orders"|MSG_SIZE_TOO_LARGE|psql|pid|pg_dump|[,:()"]/\n/g; s/and it is |waits | by /\n/g' |
    sed -E 's/^[ ,:;]+//; s/[ ,:;]+$//' | grep -E '[a-z]+ [a-z]+')
exit "$bad"

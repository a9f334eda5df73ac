#!/usr/bin/env bash
# exports.sh - each shared library exports exactly what its lib/NAME.map lists, its header declares and its
# Debian symbols file has; needs no other libraries than it should, has its soname, and is small.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

O=${OUTBOX_BUILD:-${O:-.build}}
failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-exports.XXXXXX")
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

[[ -e $O/libinbox.so.0 ]] || make -s O="$O" lib >&2

# same NAME EXPECTED ACTUAL: two texts, compared line by line.
same() {
    if [[ $2 == "$3" ]]; then
        printf 'ok - %s\n' "$1"
    else
        printf 'not ok - %s: expected < and have >: %s\n' "$1" \
            "$(diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | grep '^[<>]' | tr '\n' ' ' || true)"
        failed=1
    fi
}

# library NAME SIZE-LIMIT WRITABLE-DATA NEEDED...: writable data and needed libraries by name, sorted
library() {
    local name=$1 limit=$2 writable=$3 library=$O/lib$1.so.0 versioned listed declared exported size
    shift 3
    # Each node of the map is a version; a function belongs to the one that it came with.
    versioned=$(awk '/^[A-Z]+_[0-9.]+ \{$/ { node = $1 } /^ *[a-z]+_[a-z0-9_]+;$/ { sub(";", ""); print $1 "@@" node }' \
        "lib/$name.map" | sort)
    listed=$(sed 's/@@.*//' <<<"$versioned")
    declared=$(tr '\n' ' ' <"include/$name.h" | grep -o 'OUTBOX_API [^;]*;' |
        sed -n "s/.*[ *]\(${name}_[a-z0-9_]*\)(.*/\1/p" | sort)
    exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort)

    [[ -n $listed ]] || { printf 'not ok - lib/%s.map lists symbols: none found\n' "$name"; exit 1; }
    same "$name: the map lists what the header declares" "$declared" "$listed"
    same "$name: the library exports what the map lists, with its version" "$versioned" "$exported"
    # dpkg-gensymbols fails the build of a package too, but later.
    same "$name: the symbols of the Debian package are those of the map" "$versioned" \
        "$(sed -n "s/^ \(${name}_[a-z0-9_]*\)@\([A-Z]*_[0-9.]*\) .*/\1@@\2/p" "relay/contrib/debian/lib${name}0.symbols" | sort)"
    same "$name: the library needs no others than it should" "$(printf '%s\n' "$@")" \
        "$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort)"
    same "the soname is lib$name.so.0" "lib$name.so.0" \
        "$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')"
    # The archive has no version script: names that reach a program linked with it must be ours. What libinbox shares
    # with the relay begins with outbox__.
    same "$name: the archive defines no global name outside ${name}_ and outbox__" '' \
        "$(nm -g --defined-only "$O/lib$name.a" | awk -v own="^${name}_|^outbox__" 'NF == 3 && $3 !~ own { print $3 }')"

    strip --strip-debug -o "$work/library" "$library"
    size=$(stat -c %s "$work/library")
    if ((size < limit)); then
        printf 'ok - %s: the library without debug information has %d bytes, less than %d\n' "$name" "$size" "$limit"
    else
        printf 'not ok - %s: the library is smaller than %d bytes: it has %d\n' "$name" "$limit" "$size"
        failed=1
    fi
    # Constants that hold pointers are in .data.rel.ro, which is not writable.
    same "$name: the only writable data is: ${writable:-none}" "$writable" \
        "$(objdump -t "$O/lib$name.a" |
            awk '/ O (\.bss|\.data|\.tbss|\.tdata|\*COM\*)[ \t]/ { print $NF }' | sort -u)"
}

# State of its own: one number, the stamp of the last id.
library outbox 65536 last_stamp libc.so.6 libpq.so.5
library inbox 163840 '' libc.so.6 libpq.so.5 librdkafka.so.1
exit "$failed"

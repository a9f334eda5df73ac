#!/usr/bin/env bash
# exports.sh - the shared library exports exactly what lib/outbox.map lists, include/outbox.h
# declares and the Debian symbols file has; needs libpq and libc only, has its soname, and is small.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

O=${OUTBOX_BUILD:-${O:-.build}}
library=$O/liboutbox.so.0
limit=65536
failed=0
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-exports.XXXXXX")
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

[[ -e $library ]] || make -s O="$O" lib >&2

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

# Each node of the map is a version; a function belongs to the one that it came with.
versioned=$(awk '/^OUTBOX_[0-9.]+ \{$/ { node = $1 } /^ *outbox_[a-z0-9_]+;$/ { sub(";", ""); print $1 "@@" node }' \
    lib/outbox.map | sort)
listed=$(sed 's/@@.*//' <<<"$versioned")
declared=$(tr '\n' ' ' <include/outbox.h | grep -o 'OUTBOX_API [^;]*;' |
    sed -n 's/.*[ *]\(outbox_[a-z0-9_]*\)(.*/\1/p' | sort)
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort)

[[ -n $listed ]] || { printf 'not ok - lib/outbox.map lists symbols: none found\n'; exit 1; }
same 'the map lists what the header declares' "$declared" "$listed"
same 'the library exports what the map lists, with its version' "$versioned" "$exported"
# dpkg-gensymbols fails the build of a package too, but later.
same 'the symbols of the Debian package are those of the map' "$versioned" \
    "$(sed -n 's/^ \(outbox_[a-z0-9_]*\)@\(OUTBOX_[0-9.]*\) .*/\1@@\2/p' relay/contrib/debian/liboutbox0.symbols | sort)"
same 'the library needs libpq and libc only' $'libc.so.6\nlibpq.so.5' \
    "$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort)"
same 'the soname is liboutbox.so.0' liboutbox.so.0 \
    "$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')"
# The archive has no version script: names that reach a program linked with it must be ours.
same 'the archive defines no global name outside outbox_' '' \
    "$(nm -g --defined-only "$O/liboutbox.a" | awk 'NF == 3 && $3 !~ /^outbox_/ { print $3 }')"

strip --strip-debug -o "$work/library" "$library"
size=$(stat -c %s "$work/library")
if ((size < limit)); then
    printf 'ok - the library without debug information has %d bytes, less than %d\n' "$size" "$limit"
else
    printf 'not ok - the library is smaller than %d bytes: it has %d\n' "$limit" "$size"
    failed=1
fi

# State of its own: one number. Constants that hold pointers are in .data.rel.ro, which is not writable.
same 'the only writable data is the stamp of the last id' last_stamp \
    "$(objdump -t "$O/liboutbox.a" |
        awk '/ O (\.bss|\.data|\.tbss|\.tdata|\*COM\*)[ \t]/ { print $NF }' | sort -u)"
exit "$failed"

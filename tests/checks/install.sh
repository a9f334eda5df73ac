#!/usr/bin/env bash
# install.sh - make install into a staging directory gives what a user needs: the example builds as C
# and a program in C++, by pkg-config alone, with the shared and with the static library, and runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

O=${OUTBOX_BUILD:-${O:-.build}}
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-install.XXXXXX")
trap 'rm -rf "$work"' EXIT
stage=$work/stage
lib=$stage/usr/lib
failed=0
version=$(sed -n 's/^#define OUTBOX_VERSION_STRING "\(.*\)"$/\1/p' include/outbox.h)

# check NAME COMMAND...: ok when the command succeeds; the last lines of its output when not.
check() {
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        printf 'ok - %s\n' "$name"
    else
        printf 'not ok - %s: %s\n' "$name" "$(tail -n 3 "$work/log" | tr '\n' ' ')"
        failed=1
    fi
}

equal() { [[ $1 == "$2" ]] || { printf 'expected %s, have %s\n' "$1" "$2"; return 1; }; }

check 'make install DESTDIR= prefix=/usr' make -s O="$O" install DESTDIR="$stage" prefix=/usr
((failed == 0)) || exit 1

for file in include/outbox.h lib/liboutbox.a "lib/liboutbox.so.$version" lib/pkgconfig/outbox.pc bin/outbox-relay; do
    check "/usr/$file is there" test -f "$stage/usr/$file" -a ! -L "$stage/usr/$file"
done
check 'liboutbox.so.0 leads to the library' equal "$(realpath "$lib/liboutbox.so.$version")" "$(realpath "$lib/liboutbox.so.0")"
check 'liboutbox.so leads to the library' equal "$(realpath "$lib/liboutbox.so.$version")" "$(realpath "$lib/liboutbox.so")"
check 'links are relative' bash -c '! find "$1" -type l -lname "/*" | grep .' _ "$stage"
check 'nothing names the staging directory' bash -c '! grep -rlF "$1" "$1/usr/lib/pkgconfig" "$1/usr/include"' _ "$stage"
check 'no placeholder is left in outbox.pc' bash -c '! grep -n "@" "$1"' _ "$lib/pkgconfig/outbox.pc"
check 'outbox.pc has the prefix that was given' grep -qx 'prefix=/usr' "$lib/pkgconfig/outbox.pc"

# Installed for use: pkg-config then needs nothing but a path. (Its sysroot variable would move libpq's
# directories as well.)
shared=$work/shared
check 'make install prefix=' make -s O="$O" install prefix="$shared"
check 'DESTDIR moves files and changes nothing else' diff -r -x outbox.pc "$stage/usr" "$shared"
# The same without the shared library: the linker then takes the archive.
static=$work/static
check 'make install prefix= (for static linking)' make -s O="$O" install prefix="$static"
rm -f "$static"/lib/liboutbox.so*

# pc PREFIX ARGS...: pkg-config as the user of the package under PREFIX.
pc() {
    local prefix=$1
    shift
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config "$@"
}
check 'pkg-config knows the version' equal "$version" "$(pc "$shared" --modversion outbox)"

cat >"$work/cpp.cc" <<'EOS'
#include <outbox.h>
#include <libpq-fe.h>
#include <cstring>
int main()
{
    outbox_event event = OUTBOX_EVENT_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;
    PGconn *conn = PQconnectdb("host=/nonexistent");
    char id[37] = "";
    event.topic = "t";
    event.type = "t";
    bool ok = outbox_append(conn, &event, &err) == OUTBOX_ELINK && err.flags == OUTBOX_ERRF_LINK_LOST &&
              outbox_event_id_new(id) == OUTBOX_OK && std::strlen(id) == 36 &&
              outbox_version_number() == OUTBOX_VERSION_NUMBER;
    PQfinish(conn);
    return ok ? 0 : 1;
}
EOS

# build OUTPUT PREFIX COMPILER SOURCE
build() {
    local output=$1 prefix=$2 compiler=$3 source=$4 cflags libs
    read -ra cflags < <(pc "$prefix" --cflags outbox)
    read -ra libs < <(pc "$prefix" --libs outbox)
    "$compiler" -Wall -Wextra -Wpedantic -Werror -O2 -o "$output" "$source" "${cflags[@]}" "${libs[@]}"
}

needs_shared() { readelf -d "$1" | grep -q 'NEEDED.*liboutbox\.so\.0'; }
without_shared() { [[ -e $1 ]] && ! needs_shared "$1"; }

# The example has no database here: it must say so and fail, not crash.
example_fails_cleanly() {
    local status=0
    LD_LIBRARY_PATH=$shared/lib "$1" 'host=/nonexistent' >"$work/out" 2>&1 || status=$?
    equal 1 "$status" && grep -q '/nonexistent' "$work/out"
}

check 'C, shared: hello.c builds' build "$work/c-shared" "$shared" "${CC:-cc}" lib/examples/hello.c
check 'C, shared: needs liboutbox.so.0' needs_shared "$work/c-shared"
check 'C, shared: runs' example_fails_cleanly "$work/c-shared"
check 'C++, shared: builds' build "$work/cc-shared" "$shared" "${CXX:-c++}" "$work/cpp.cc"
check 'C++, shared: runs' env LD_LIBRARY_PATH="$shared/lib" "$work/cc-shared"
check 'C, static: hello.c builds' build "$work/c-static" "$static" "${CC:-cc}" lib/examples/hello.c
check 'C, static: needs no liboutbox.so' without_shared "$work/c-static"
check 'C, static: runs' example_fails_cleanly "$work/c-static"
check 'C++, static: builds' build "$work/cc-static" "$static" "${CXX:-c++}" "$work/cpp.cc"
check 'C++, static: runs' "$work/cc-static"

check 'make uninstall leaves no file' bash -c \
    'make -s O="$1" uninstall DESTDIR="$2" prefix=/usr && ! find "$2" ! -type d | grep .' _ "$O" "$stage"
exit "$failed"

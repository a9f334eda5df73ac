#!/usr/bin/env bash
# install.sh - what make install, install-strip, installcheck and uninstall leave; what is built has the
# hardening that a distribution asks for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh

O=$(realpath -m "${OUTBOX_BUILD:-${O:-.build}}")
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-install.XXXXXX")
trap 'rm -rf "$work"' EXIT
stage=$work/stage
version=$(sed -n 's/^#define OUTBOX_VERSION_STRING "\(.*\)"$/\1/p' include/outbox.h)

target() { make -s O="$O" "$@"; }
# tree DIRECTORY: its files and links by name
tree() { (cd "$1" && find . ! -type d | sort); }

check 'make install DESTDIR= prefix=/usr' target install DESTDIR="$stage" prefix=/usr
((bad == 0)) || exit 1

lib=$stage/usr/lib
for file in include/{outbox,inbox}.h lib/lib{outbox,inbox}.a lib/lib{outbox,inbox}.so."$version" lib/pkgconfig/{outbox,inbox}.pc bin/outbox-relay; do
    check "/usr/$file is there" test -f "$stage/usr/$file" -a ! -L "$stage/usr/$file"
done
for file in sql/*.sql; do
    check "$file is there" cmp "$file" "$stage/usr/share/outbox/$file"
done
check 'the alerts are there' cmp relay/contrib/prometheus/outbox-relay.rules.yml \
    "$stage/usr/share/outbox/prometheus/outbox-relay.rules.yml"
equal 'liboutbox.so.0 leads to the library' "$(realpath "$lib/liboutbox.so.$version")" "$(realpath "$lib/liboutbox.so.0")"
equal 'liboutbox.so leads to the library' "$(realpath "$lib/liboutbox.so.$version")" "$(realpath "$lib/liboutbox.so")"
check 'links are relative' bash -c '! find "$1" -type l -lname "/*" | grep .' _ "$stage"
check 'nothing names the staging directory' bash -c '! grep -rlF "$1" "$1/usr/lib/pkgconfig" "$1/usr/include"' _ "$stage"
for name in outbox inbox; do
    check "no placeholder is left in $name.pc" bash -c '! grep -n "@" "$1"' _ "$lib/pkgconfig/$name.pc"
    check "$name.pc has the prefix that was given" grep -qx 'prefix=/usr' "$lib/pkgconfig/$name.pc"
done

target installcheck DESTDIR="$stage" prefix=/usr | sed -E 's/^((not )?ok - )/\1installcheck of a staging directory: /' || bad=1
# It must notice what is missing.
for file in include/{outbox,inbox}.h; do
    mv "$stage/usr/$file" "$work/missing"
    check "installcheck fails without $file" bash -c '! make -s O="$1" installcheck DESTDIR="$2" prefix=/usr' _ "$O" "$stage"
    mv "$work/missing" "$stage/usr/$file"
done

plain=$work/plain
check 'make install PREFIX= LIBDIR=' target install PREFIX="$plain" LIBDIR="$plain/lib64"
check 'LIBDIR moves the library and outbox.pc' test -e "$plain/lib64/liboutbox.so.0" -a -e "$plain/lib64/pkgconfig/outbox.pc" -a ! -e "$plain/lib"
target installcheck PREFIX="$plain" LIBDIR="$plain/lib64" | sed -E 's/^((not )?ok - )/\1installcheck of a prefix: /' || bad=1

check 'make install-strip' target install-strip DESTDIR="$work/stripped" prefix=/usr
equal 'install-strip installs the same files' "$(tree "$stage")" "$(tree "$work/stripped")"
for file in bin/outbox-relay "lib/liboutbox.so.$version" lib/liboutbox.a; do
    check "install-strip leaves no debug information in $file" \
        bash -c '! readelf -S "$1" | grep -F .debug_info' _ "$work/stripped/usr/$file"
done
check 'a stripped installation serves its users' target installcheck DESTDIR="$work/stripped" prefix=/usr

check 'make uninstall leaves no file' bash -c \
    'make -s O="$1" uninstall DESTDIR="$2" prefix=/usr && ! find "$2" ! -type d | grep .' _ "$O" "$stage"
check 'make uninstall leaves no directory of its own' test ! -e "$stage/usr/share/outbox"
touch "$plain/lib64/liboutbox.so.9"
check 'make uninstall PREFIX= LIBDIR=' target uninstall PREFIX="$plain" LIBDIR="$plain/lib64"
equal 'make uninstall touches nothing of another version' ./lib64/liboutbox.so.9 "$(tree "$plain")"

# --- hardening ---

header() { readelf -hW "$1" | grep -E "Type: +$2"; }
bound_at_once() { readelf -lW "$1" | grep -q GNU_RELRO && readelf -dW "$1" | grep -qE 'FLAGS.*(BIND_NOW|NOW)'; }
calls() { nm -D --undefined-only "$1" | grep -E " $2(@|\$)"; }
stack_is_data() { readelf -lW "$1" | grep -qE 'GNU_STACK.* RW '; }

check 'the relay is position independent' header "$O/outbox-relay" 'DYN'
for file in outbox-relay liboutbox.so.0 libinbox.so.0; do
    check "$file: addresses are resolved at start and then read-only" bound_at_once "$O/$file"
    check "$file: the stack is not executable" stack_is_data "$O/$file"
done
if nm "$O/outbox-relay" | grep -q __asan_init; then
    skip 'fortified calls and guarded stacks' 'the build has sanitizers'
else
    check 'the relay guards its stack' calls "$O/outbox-relay" __stack_chk_fail
    check 'the library guards its stack' calls "$O/liboutbox.so.0" __stack_chk_fail
    check 'the relay calls fortified functions' calls "$O/outbox-relay" '__[a-z]*printf_chk'
    check 'the library calls fortified functions' calls "$O/liboutbox.so.0" '__[a-z]*(printf|mem[a-z]*)_chk'
fi
# flags VARIABLE=VALUE: how one file would be compiled
flags() { make -n -B O="$work/none" "$1" "$work/none/lib/outbox/version.o" | grep -- ' -c '; }
check 'the flags of the caller come last' grep -qE -- '-fstack-protector-strong .* -fno-stack-protector .*-c ' <(flags CFLAGS=-fno-stack-protector)
check 'a caller who fortifies is not contradicted' bash -c '[[ $1 == *=3*version.c* && $1 != *_SOURCE=2* ]]' _ "$(flags CPPFLAGS=-D_FORTIFY_SOURCE=3)"
check 'without optimisation nothing is fortified' bash -c '[[ $1 == *version.c* && $1 != *_FORTIFY_SOURCE* ]]' _ "$(flags CFLAGS=-O0)"
exit "$bad"

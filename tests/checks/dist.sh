#!/usr/bin/env bash
# dist.sh - make dist packs the last commit, into the same bytes each time, and what it packs builds
# where there is no git.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh

work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-dist.XXXXXX")
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^#define OUTBOX_VERSION_STRING "\(.*\)"$/\1/p' include/outbox.h)
archive=outbox-$version.tar.gz

if ! git rev-parse --git-dir >/dev/null 2>&1; then
    skip 'make dist' 'this is not a git repository'
    exit 0
fi

check 'make dist' make -s O="$work/one" dist
((bad == 0)) || exit 1
# Another directory, time, umask and locale, and what a user may have configured.
check 'make dist once more' env -C "$PWD" TZ=Asia/Tokyo LC_ALL=C GZIP=-1 GIT_CONFIG_COUNT=1 \
    GIT_CONFIG_KEY_0=tar.umask GIT_CONFIG_VALUE_0=0077 bash -c 'umask 077; make -s O="$1" dist' _ "$work/two"
check 'the bytes are the same' cmp "$work/one/$archive" "$work/two/$archive"
check 'the checksum is right' bash -c 'cd "$1" && sha256sum -c "$2"' _ "$work/one" "$archive.sha256"
tar -xzf "$work/one/$archive" -C "$work"
check 'it holds what the last commit holds' diff \
    <(git ls-tree -r --name-only HEAD | sort) <(cd "$work/outbox-$version" && find . -type f | sed 's|^\./||' | sort)

# A git that fails in the way: the build must not ask it.
mkdir "$work/bin"
printf '#!/bin/sh\necho "git was called: $*" >&2\nexit 1\n' >"$work/bin/git"
chmod +x "$work/bin/git"
check 'it builds and installs without git' env PATH="$work/bin:$PATH" GIT_CEILING_DIRECTORIES="$work" \
    make -s -C "$work/outbox-$version" -j2 O="$work/build" CFLAGS=-O0 DESTDIR="$work/stage" install
check 'what it built is this version' bash -c '[[ $("$1/usr/local/bin/outbox-relay" --version) == "outbox-relay $2 "* ]]' _ \
    "$work/stage" "$version"
check 'without git make dist says what it needs' bash -c \
    '! PATH=$1/bin:$PATH make -s -C "$2" O="$1/none" dist 2>"$1/said" && grep "needs the git repository" "$1/said"' _ \
    "$work" "$work/outbox-$version"
exit "$bad"

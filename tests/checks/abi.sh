#!/usr/bin/env bash
# abi.sh - what programs that are linked already rely on is as tests/checks/abi/ has it: functions with
# their versions and parameters, layouts, sizes and constants.
#
# After a wanted change `make abi-baseline` (this script with --baseline) writes the files anew; the
# difference in them is what reviewers look at. Once there is a release, a new function goes to a new
# node of its map, and anything but an addition needs a new soname.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh

O=${OUTBOX_BUILD:-${O:-.build}}
baseline=tests/checks/abi
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-abi.XXXXXX")
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

# constants: the values that a compiler copies out of the header into programs, one "name value" a line.
# The number of the version is not among them: it is there to change.
constants() {
    local names structs
    names=$(sed -nE -e 's/^#define (OUTBOX_(MAX|ERRF|APPEND|ERROR)_[A-Z_0-9]*[A-Z]|INBOX_(MAX|MESSAGE|LATENCY)_[A-Z_0-9]*[A-Z]) .*/\1/p' \
        -e 's/^ +(OUTBOX_[A-Z]+|INBOX_E[A-Z]+) = .*/\1/p' include/outbox.h include/inbox.h | grep -v '_INIT$'
        printf 'INBOX_%s\n' DONE RETRY REJECT NEW DUPLICATE)
    structs=$(sed -nE 's/^typedef struct ((outbox|inbox)_[a-z]+) \{$/\1/p' include/outbox.h include/inbox.h)
    {
        printf '#include <stdio.h>\n#include <inbox.h>\nint main(void)\n{\n'
        printf '    printf("%%s %%lld\\n", "%s", (long long)%s);\n' \
            $(for n in $names; do printf '%s %s\n' "$n" "$n"; done)
        printf '    printf("sizeof %%s %%lld\\n", "%s", (long long)sizeof(%s));\n' \
            $(for n in $structs; do printf '%s %s\n' "$n" "$n"; done)
        printf '    return 0;\n}\n'
    } >"$work/constants.c"
    "${CC:-cc}" -Iinclude -o "$work/constants" "$work/constants.c"
    "$work/constants"
}

# corpus NAME: the public functions and what can be reached from them; nothing that differs by machine or line.
corpus() {
    abidw --headers-dir include --drop-private-types --drop-undefined-syms --exported-interfaces-only \
        --no-show-locs --no-corpus-path --no-comp-dir-path "$O/lib$1.so.0"
}

# same NAME WHAT FILE-A FILE-B...: a command that compares them
same() {
    local name=$1
    shift
    if "$@" >"$work/diff" 2>&1; then
        ok "$name"
    else
        not_ok "$name" "if it is wanted, run make abi-baseline: $(tr -s '\n ' '  ' <"$work/diff")"
    fi
}

[[ -e $O/libinbox.so.0 ]] || make -s O="$O" lib >&2
platform=$(uname -m)
if [[ ${1-} == --baseline ]]; then
    command -v abidw >/dev/null || { echo 'abi.sh: abidw is missing (Debian: abigail-tools)' >&2; exit 1; }
    mkdir -p "$baseline"
    printf '%s\n' "$platform" >"$baseline/platform"
    constants >"$baseline/constants"
    for name in outbox inbox; do corpus $name >"$baseline/lib$name.abi"; done
    exit 0
fi

if [[ $platform != "$(<"$baseline/platform")" ]]; then
    skip 'the ABI' "the baseline is of $(<"$baseline/platform"), this is $platform"
    exit 0
fi
constants >"$work/now"
same 'constants and sizes are those of the baseline' diff -U0 "$baseline/constants" "$work/now"
if ! command -v abidw >/dev/null; then
    skip 'functions and layouts' 'abidw is not installed (Debian: abigail-tools)'
elif nm "$O/liboutbox.so.0" | grep -qE '__(asan|tsan)_'; then
    skip 'functions and layouts' 'the library has sanitizers'
else
    for name in outbox inbox; do
        corpus $name >"$work/now.abi"
        # Its exit status has a bit for harmless additions as well; nothing may change unnoticed.
        same "functions and layouts of lib$name are those of the baseline" abidiff "$baseline/lib$name.abi" "$work/now.abi"
    done
fi
exit "$bad"

#!/bin/sh
# SPDX-License-Identifier: MIT
# Every public function of the headers has a .Nm line in a manual page, and every such line a public function; and so
# has every function and macro of a function's name in <sthread/wedge.h>, in sthread_wedge(3).
# World: the source tree.
#
#   man_covers_api.sh [ROOT]
set -eu

root=${1:-${MESON_SOURCE_ROOT:-$(dirname "$0")/../..}}
cd "$root"

# Joins the header into one line without comments, then takes the name before the first parenthesis of each
# declaration that has STHREAD_API or DUNE_API in it.
functions() {
    cat include/sthread.h include/dune.h |
        grep -v '^#' |
        sed 's,//.*,,' | tr '\n' ' ' | sed 's,/\*,\n/*,g; s,\*/,*/\n,g' | grep -v '^/\*' | tr '\n' ' ' |
        tr ';{}' '\n\n\n' |
        grep -E '(STHREAD|DUNE)_API' |
        sed -E 's/.*(STHREAD|DUNE)_API//; s/\(.*//; s/.*[^a-z0-9_]//' | sort -u
}

documented() {
    sed -n 's/^\.Nm \([a-z0-9_]*\).*/\1/p' man/*.3 | grep -E '^(sthread|dune)_' | sort -u
}

want=$(functions)
have=$(documented)
status=0

# If this finds few, it is the extraction that is broken.
count=$(echo "$want" | wc -l)
if [ "$count" -lt 20 ]; then
    echo "only $count public functions found in the headers" >&2
    exit 1
fi
for f in $want; do
    if ! echo "$have" | grep -qx "$f"; then
        echo "$f: no .Nm line in man/*.3" >&2
        status=1
    elif ! grep -qE "^\.(Fo|Fn) (\"[^\"]*\" )?$f( |$)" man/*.3; then
        echo "$f: no .Fn or .Fo line in man/*.3" >&2
        status=1
    fi
done
for f in $have; do
    case $f in
    sthread_result | sthread_wedge | sthread_syscalls) ;; # a structure, a header, and a page of section 7
    *)
        if ! echo "$want" | grep -qx "$f"; then
            echo "$f: in man/*.3, but not in the headers" >&2
            status=1
        fi
        ;;
    esac
done

# Those whose names end in _ are the header's own.
wedge=$(sed -nE 's/^(STHREAD_MUST )?static inline .*[ *]([a-z_]*[a-z])\(.*/\2/p; s/^#define ([a-z_]*[a-z])\(.*/\1/p' \
    include/sthread/wedge.h | sort)
page=$(sed -n 's/^\.Nm \([a-z_]*\).*/\1/p' man/sthread_wedge.3 | grep -vx sthread_wedge | sort)
if [ "$(echo "$wedge" | wc -l)" -lt 10 ] || [ "$wedge" != "$page" ]; then
    echo "man/sthread_wedge.3 has:" $page >&2
    echo "include/sthread/wedge.h has:" $wedge >&2
    status=1
fi
[ $status -ne 0 ] || echo "$count public functions, all documented"
exit $status

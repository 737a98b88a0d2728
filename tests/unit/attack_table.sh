#!/bin/sh
# SPDX-License-Identifier: MIT
# Every test that docs/attacks.md names, as `file:function`, exists: a table that nobody checks is soon untrue.
# shellcheck disable=SC2016 # these are the page's own backquotes
set -eu

cd "$(dirname "$0")/../.."

# Names in the page given that are not there; fails if it has few names, as if it were not read.
missing()
{
    count=0 bad=0
    for name in $(grep -o '`[a-z0-9_]*:[a-z0-9_]*`' "$1" | tr -d '`' | sort -u); do
        count=$((count + 1))
        grep -Eqs "(^|[^a-z0-9_])${name#*:}(\\(|\\)|,)" tests/*/"${name%%:*}.c" && continue
        echo "$1: no test $name"
        bad=1
    done
    [ "$count" -ge "$2" ] || { echo "$1: only $count tests are named"; bad=1; }
    return $bad
}

missing docs/attacks.md 250

# It fails when it should.
false_page=$(mktemp)
trap 'rm -f "$false_page"' EXIT
echo '`st_memory:new_memory` `st_memory:none_such`' >"$false_page"
if missing "$false_page" 1 >/dev/null; then
    echo "a test that does not exist passes"
    exit 1
fi

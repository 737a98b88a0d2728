#!/bin/sh
# SPDX-License-Identifier: MIT
# The models in docs/models hold in every state, and where a rule is left out they fail as the
# tables in their README say.
set -eu

models=$(cd "$(dirname "$0")/../../docs/models" && pwd)
command -v spin >/dev/null || { echo 'SKIP: no spin (Debian package spin)'; exit 77; }
cc=$(command -v cc || command -v gcc) || { echo 'SKIP: no C compiler'; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bad=0

# check MODEL OPTIMIZATION [-D...]: what spin says of it, in the file `out`.
check()
{
    model=$1 optimize=$2
    shift 2
    spin -a "$@" "$models/$model" >out 2>&1 &&
        "$cc" -w "$optimize" -DSAFETY -DMEMLIM=1800 -o pan pan.c >>out 2>&1 ||
        { cat out; echo "$model $*: cannot be built"; exit 1; }
    ./pan -m1000000 -w22 >out 2>&1 || true
}

# Which property the last check broke; `none`: it went to the end; `unfinished`.
broke()
{
    if grep -q '^pan:1: invalid end state' out; then
        echo stuck
    elif grep -q '^pan:1: assertion violated' out; then
        sed -n 's/^pan:1: assertion violated *!(*\([a-z_]*\).*/\1/p' out
    elif grep -Eq 'search depth too small|Search not completed|out of memory|MEMLIM' out ||
        ! grep -q 'errors: 0$' out; then
        echo unfinished
    else
        echo none
    fi
}

# whole MODEL [-D...]: it holds.
whole()
{
    check "$1" -O1 "${2:--DWHOLE}"
    verdict=$(broke)
    echo "$1 ${2-}: $(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' out) states, breaks $verdict"
    [ "$verdict" = none ] || { cat out; bad=1; }
}

# "MUTATION PROPERTY -DVARIANT" for each row of a model's table.
rows()
{
    sed -n "/^## $1/,/^## /s/^| \(.*\) | \`\([a-z_]*\)\` | \`\(M_[A-Z_]*\)\` |\$/\3 \2 \1/p" \
        "$models/README.md" |
        sed -e 's/^\([^ ]* [^ ]*\) .*(`\(-D[A-Z0-9]*\)`).*/\1 \2/' -e t \
            -e 's/^\([^ ]* [^ ]*\) .*/\1 -DWHOLE/'
}

whole process.pml
whole process.pml -DKILLABLE
whole kvm.pml
whole kvm.pml -DONE
whole kvm.pml -DRING0

for model in process.pml kvm.pml; do
    rows "$model" >rows
    sed 's/ .*//' rows | sort >listed
    grep -o '\bM_[A-Z_]*[A-Z]' "$models/$model" | sort -u >there
    diff listed there >&2 || { echo "$model: README.md lists other mutations"; bad=1; }
    while read -r mutation property variant; do
        check "$model" -O0 "-D$mutation=true" "$variant"
        verdict=$(broke)
        [ "$verdict" = "$property" ] && continue
        echo "$model $mutation: breaks $verdict, not $property"
        bad=1
    done <rows
    echo "$model: $(wc -l <rows) mutations"
done
exit $bad

#!/bin/sh
# SPDX-License-Identifier: MIT
# The programs of docs/tutorial.md do what it says: on good uploads both do the same; a hostile one ends the first program,
# and of the second only the compartment that met it.
#
#   tutorial.sh RECEIPT_BEFORE RECEIPT
set -eu

before=$1 after=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail()
{
    echo "$1"
    cat out err
    exit 1
}

printf 'thirty-two bytes of a secret key' >key
printf 'apples 3\npears 4\n' >good
printf 'plums 12\n' >late
{ head -c 3000 /dev/zero | tr '\0' A; echo ' 1'; } >evil

"$before" key good late >out 2>err || fail 'the program before fails on good uploads'
cp out expected
"$after" key good late >out 2>err || fail 'the split program fails on good uploads'
cmp -s out expected || fail 'the two differ on good uploads'
grep -q '^good: 2 entries to pears, 7 in all, receipt [0-9a-f]\{16\}$' out || fail 'not what the tutorial shows'

if "$before" key good evil late >out 2>err; then
    fail 'the bug does nothing'
fi
grep -q '^late' out && fail 'the program before went on'

if "$after" key good evil late >out 2>err; then
    fail 'nobody says that an upload failed'
fi
cmp -s out expected || fail 'the good uploads have not their receipts'
grep -qE '^evil: sthread (faulted|aborted)' err || fail 'there is no record'

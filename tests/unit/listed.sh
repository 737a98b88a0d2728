#!/bin/sh
# SPDX-License-Identifier: MIT
# Every file in a test folder is named in tests/meson.build: a test that nobody runs passes for ever.  And the tests that
# stub processes do not run are few.
set -eu

cd "$(dirname "$0")/.."
status=0
for f in unit/* kvm/* attack/* stress/* fuzz/* httpd/*; do
    case $f in
    *.h | */\*) continue ;; # headers, empty folders
    *.c | *.sh) ;;
    *) continue ;;
    esac
    suite=${f%%/*}
    name=${f#*/}
    name=${name%.*}
    grep -q "^ *\['$suite', '$name'," meson.build && continue
    grep -q "'tests/$f'" meson.build && continue # part of another test
    [ "$suite" = fuzz ] && grep -q "^all='.*\<$name\>.*'" ../scripts/fuzz && continue # a libFuzzer target
    echo "tests/$f is not named in tests/meson.build"
    status=1
done

# What the setup "process" leaves out: few, and each with its reason.
left_out=$(grep -vc '^#' not-on-process)
[ "$left_out" -le 10 ] || { echo "tests/not-on-process has $left_out tests, more than ten"; status=1; }
grep -v '^#' not-on-process | grep -Ev '^[a-z_0-9]+ [^ ]' && { echo "... in tests/not-on-process: without a reason"; status=1; }
exit $status

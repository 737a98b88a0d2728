#!/bin/sh
# SPDX-License-Identifier: MIT
# Every file in a test folder is named in tests/meson.build: a test that nobody runs passes for ever.
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
exit $status

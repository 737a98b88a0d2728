#!/bin/sh
# SPDX-License-Identifier: MIT
# Every public header stands alone, without the extensions of a compiler or of the C library, in C and (where there is a
# compiler) in C++.  World: the source tree.
#
#   headers.sh COMPILER...
set -eu

root=${MESON_SOURCE_ROOT:-$(dirname "$0")/../..}
cd "$root/include"
[ $# -gt 0 ] || set -- cc
count=0
for h in *.h sthread/*.h; do
    echo "#include <$h>" | "$@" -x c -std=c11 -Wall -Wextra -Werror -I. -fsyntax-only -
    if command -v c++ >/dev/null; then
        echo "#include <$h>" | c++ -x c++ -std=c++11 -Wall -Wextra -Werror -I. -fsyntax-only -
    fi
    count=$((count + 1))
done
[ $count -ge 4 ] # or it is the list that is broken
echo "$count headers"

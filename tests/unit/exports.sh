#!/bin/sh
# SPDX-License-Identifier: MIT
# The shared library exports its public calls and nothing else: no malloc, above all, though jemalloc is in it; and the
# program's malloc is still the C library's.  World: the build.
#
#   exports.sh LIBRARY
set -eu

lib=$1
names=$(nm -D --defined-only "$lib" | sed 's/.* //; s/@.*//' | grep -v '^LIBSTHREAD_')
count=$(echo "$names" | wc -l)
if [ "$count" -lt 20 ]; then
    echo "only $count names found: the test is broken" >&2
    exit 1
fi
for name in sthread_malloc sthread_free dune_vm_map; do
    echo "$names" | grep -qx "$name" || { echo "$name is not exported" >&2; exit 1; }
done
if echo "$names" | grep -vE '^(sthread|dune)_' | grep .; then
    echo "these are exported, too" >&2
    exit 1
fi
# Inside, jemalloc is there, and nothing of it can be seen by who links the library statically either.
nm "$lib" | grep -q ' t tag_je_mallocx$' || { echo "no jemalloc in the library" >&2; exit 1; }
# Who asks for malloc with the library loaded first gets the C library's.
bound=$(LD_PRELOAD=$lib LD_DEBUG=bindings /bin/true 2>&1 | grep "symbol .malloc'" || :)
if echo "$bound" | grep -F "to $lib"; then
    echo "malloc is bound to the library" >&2
    exit 1
fi
echo "$count names"

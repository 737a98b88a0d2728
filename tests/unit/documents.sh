#!/bin/sh
# SPDX-License-Identifier: MIT
# What the documents name is there: relative links with their anchors, and paths of sources in backquotes (from the root,
# or from sthread/).  The code of the tutorial is that of its programs.  World: the source tree.
# shellcheck disable=SC2016 # these are the pages' own backquotes
set -eu

cd "$(dirname "$0")/../.."

# The anchors of a page, as GitHub makes them of headings.
anchors()
{
    sed -n 's/^##* //; T; s/.*/\L&/; s/[^a-z0-9 _-]//g; s/ /-/g; p' "$1"
}

# Links of the page given, that lead nowhere; counts all in $count.
links()
{
    for link in $(grep -o '](\([^)]*\))' "$1" | sed 's/^](//; s/)$//' | sort -u); do
        case $link in *://*) continue ;; esac
        count=$((count + 1))
        file=${link%%#*}
        if [ -n "$file" ]; then file=${from:-${1%/*}}/$file; else file=$1; fi
        if [ ! -e "$file" ]; then
            echo "$1: no file $link"
            bad=1
        elif [ "$link" != "${link#*#}" ] && ! anchors "$file" | grep -qxF -e "${link#*#}"; then
            echo "$1: no heading $link"
            bad=1
        fi
    done
}

# Paths of sources that the page given names and that are not there.
paths()
{
    for path in $(grep -oE '`[a-z0-9_./-]+/[a-z0-9_-]+\.(c|h|S|sh|ld|pml)`' "$1" | tr -d '`' | sort -u); do
        count=$((count + 1))
        [ -e "$path" ] || [ -e "sthread/$path" ] || [ -e "include/$path" ] && continue
        echo "$1: no file $path"
        bad=1
    done
}

# check LEAST PAGE...: fails if the pages have few names, as if they were not read.
check()
{
    least=$1 count=0 bad=0
    shift
    for page; do
        links "$page"
        paths "$page"
    done
    [ "$count" -ge "$least" ] || { echo "$*: only $count names"; bad=1; }
    return $bad
}

from='' # where links start from; else the folder of the page
check 60 ./*.md docs/*.md tests/*.md

# The pieces of C in a page are in these programs, but for indentation.
quotes()
{
    awk '
        { line = $0; sub(/^[ \t]+/, "", line) }
        FILENAME != ARGV[ARGC - 1] { text = text line "\n"; next }
        /^```/ {
            if (piece != "" && !index(text, piece)) { print "not in a program: " piece; bad = 1 }
            count += piece != ""
            piece = ""
            inside = /^```c$/
            next
        }
        inside { piece = piece line "\n" }
        END { if (count < 1) print "no piece of code"; exit bad || count < 1 }' examples/receipt_before.c examples/receipt.c "$1"
}

quotes docs/tutorial.md

# It fails when it should: each kind of name, one that is there and one that is not.
false_page=$(mktemp)
trap 'rm -f "$false_page"' EXIT
from=.
for name in '[x](README.md) [x](NONE.md)' '[x](SECURITY.md#the-model) [x](SECURITY.md#none)' '`vm/vm.c` `vm/none.c`'; do
    echo "$name" >"$false_page"
    if [ "$(check 2 "$false_page" | wc -l)" != 1 ]; then
        echo "what does not exist passes, or what exists does not: $name"
        exit 1
    fi
done
printf '```c\nerr = sthread_init(NULL);\n```\n' >"$false_page"
if quotes "$false_page" >/dev/null; then
    echo 'code that is not there passes'
    exit 1
fi

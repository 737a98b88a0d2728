#!/bin/sh
# SPDX-License-Identifier: MIT
# What goes wrong in a run of the tests is counted as failed: a failing test, one killed, one that
# never reports, a skip where KVM is required. Uses a small Meson project of its own.
set -eu

scripts=$(cd "$(dirname "$0")/../../scripts" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset STHREAD_REQUIRE_KVM STHREAD_PLACEMENT

fail() { echo "$0: $*" >&2; exit 1; }

cat > meson.build <<'END'
project('harness')
sh = find_program('sh')
foreach suite, tests : {
  'unit': {
    'good': 'exit 0',
    'bad': 'echo f.c:3: why; echo and more; exit 1',
    'crashed': 'kill -SEGV $$',
    'skipped': 'exit 77',
    'no-cpu': 'echo "SKIP-CPU: no AMX"; exit 77',
    'slow': 'sleep 30',
  },
  'kvm': {'good': 'exit 0'},
}
  foreach name, body : tests
    test(name, sh, args: ['-c', body], suite: name == 'good' ? [suite, 'static'] : suite, timeout: 1)
  endforeach
endforeach
END
meson setup build >setup.log 2>&1 || { cat setup.log; fail 'meson setup'; }
meson test -C build --suite unit >test.log 2>&1 && fail 'meson test passed'
log=build/meson-logs/testlog.json

# expect WHAT LINE...: the verdicts and names that the last run gave, sorted.
expect() {
    what=$1
    shift
    cut -f 1,2 out | tr '\t' ' ' | sort > have
    printf '%s\n' "$@" | sort > want
    diff -u want have || fail "$what"
}

"$scripts/meson-results" --suite unit here build $log > out
expect 'plain' 'pass here: unit / good' 'fail here: unit / bad' 'fail here: unit / crashed' \
    'skip here: unit / skipped' 'skip here: unit / no-cpu' 'fail here: unit / slow'
grep -q 'TIMEOUT' out || fail 'no word of the timeout'
grep -q '	FAIL, exit status 1: f.c:3: why$' out || fail 'no word of what failed'

STHREAD_REQUIRE_KVM=1 "$scripts/meson-results" --suite unit here build $log > out
expect 'KVM required' 'pass here: unit / good' 'fail here: unit / bad' 'fail here: unit / crashed' \
    'fail here: unit / skipped' 'skip here: unit / no-cpu' 'fail here: unit / slow'

"$scripts/meson-results" --no-suite unit here build $log > out
expect 'not run' 'fail here: kvm / good'
grep -q 'never reported' out || fail 'no word of the silence'

"$scripts/meson-results" --suite static here build $log > out
expect 'two suites' 'pass here: unit / good' 'fail here: kvm / good'

"$scripts/meson-results" --suite kvm here build no-such-log > out
expect 'no log' 'fail here: kvm / good'

# The runner inside the emulated machine, run here.
cat > list <<'END'
job 1 good 5 /tmp A=1 -- sh -c 'test $A = 1'
job 2 bad 5 /tmp A=2 -- sh -c 'echo because; echo f.c:3: it; echo "  more"; exit 1'
job 3 slow 1 /tmp -- sleep 30
job 4 skipped 5 /tmp -- sh -c 'exit 77'
job 5 no-cpu 5 /tmp -- sh -c 'echo SKIP-CPU: no AMX; exit 77'
job 6 leaves 5 /tmp -- sh -c 'sleep 1000 & exit 0'
END
: > report
VM_REPORT=$work/appended
export VM_REPORT
mkfifo "$VM_REPORT"
cat <>"$VM_REPORT" >report &
reader=$!
"$scripts/vm-runner" ./list > runner.log
# Its last words may be in the pipe still.
tries=0
until grep -q '^finished$' report || [ $tries = 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
kill $reader
grep -q '^because$' runner.log || fail 'the output of a failed test is not shown'
grep -q 'leaves left process' runner.log || fail 'a process left behind is not noticed'
sed -n 's/^result \([0-9]* [a-z]*\) .*/\1/p' report > have
printf '%s\n' '1 pass' '2 fail' '3 fail' '4 fail' '5 skip' '6 pass' > want
diff -u want have || fail 'vm-runner'
grep -q '^result 2 fail [0-9]* exit status 1: f.c:3: it$' report || fail 'no word of what failed'
grep -q '^finished$' report || fail 'vm-runner does not finish'

# An emulator that aborts by itself has failed, whatever it ran, and so it is tried again where nothing was done yet.
export XDG_CACHE_HOME="$work/cache"
kernel=$XDG_CACHE_HOME/libsthread/kernel/linux-image-none
mkdir -p bin "$kernel"
touch "$kernel/vmlinuz" "$kernel/none.ko"
cat > bin/qemu-system-x86_64 <<'END'
#!/bin/sh
echo boot >> boots
printf '%s\n' "$0" "$@" "libraries ${LD_LIBRARY_PATH-}" > machine
while [ $# -gt 0 ]; do
    case $1 in
    -initrd) cp "$2" files ;;
    file,id=report,path=*) report=${1#*path=}; report=${report%%,*} ;;
    esac
    shift
done
[ -z "${BEATS-}" ] || echo 'beat 0' >> "$report"
[ -z "${FIGURES-}" ] || { printf 'beat 0\n%s\nexit 0\n' "$FIGURES" >> "$report"; exit 0; }
echo "$WORDS" >&2
exit 134
END
chmod +x bin/qemu-system-x86_64
# emulator STATUS BOOTS [OPTION]...: what vm-run says, and how often it tries.
emulator() {
    : > boots
    status=0
    want_status=$1 want_boots=$2
    shift 2
    PATH=$work/bin:$PATH "$scripts/vm-run" "$@" true >vm-run.log 2>&1 || status=$?
    [ $status = "$want_status" ] ||
        { cat vm-run.log; fail "vm-run: status $status, not $want_status, where the emulator says $WORDS"; }
    [ "$(wc -l < boots)" = "$want_boots" ] ||
        fail "vm-run: $(wc -l < boots) boots, not $want_boots, where the emulator says $WORDS"
}
export WORDS='a.c:15: f: Assertion `n == 16'"'"' failed.' BEATS=
emulator 126 3
BEATS=1 emulator 126 1
WORDS=else emulator 125 3
WORDS=else BEATS=1 emulator 125 1

# has LINE: among the words that the emulator was called with.
has() { grep -qxF -e "$1" machine || { cat machine; fail "the emulator was not called with $1"; }; }
has_not() { ! grep -qF -e "$1" machine || { cat machine; fail "the emulator was called with $1"; }; }

# Which emulator. An unpacked one has firmware and libraries of its own.
has "$work/bin/qemu-system-x86_64"
has 'libraries '
has_not -icount
for tree in "$work/tree" "$XDG_CACHE_HOME/libsthread/qemu-9.2" "$XDG_CACHE_HOME/libsthread/qemu-10.0"; do
    mkdir -p "$tree/usr/bin"
    cp bin/qemu-system-x86_64 "$tree/usr/bin/"
done
for how in "$work/tree $work/tree" "backports $tree"; do
    tree=${how#* }
    emulator 126 3 --qemu "${how% *}"
    has "$tree/usr/bin/qemu-system-x86_64"
    has "$tree/usr/share/seabios"
    has "libraries $tree/usr/lib/x86_64-linux-gnu"
done
cp bin/qemu-system-x86_64 bin/other
emulator 126 3 --qemu other
has "$work/bin/other"
emulator 125 0 --qemu none-of-this-name

# Where instructions are counted, two runs start from the same, whatever the time is and whoever made the files.
emulator 2 0 --icount --parallel
export FIGURES='{"figures": 1}'
mkdir taken
for f in b a c; do echo $f > taken/$f; done
emulator 0 1 --icount --copy "$work/taken"
has shift=0,sleep=off
has tcg,thread=single
mv files before
rm -r taken
mkdir taken
for f in c b a; do echo $f > taken/$f; done
touch -d 2001-01-01 taken/b
emulator 0 1 --icount --copy "$work/taken"
cmp before files || fail 'two runs have different file systems'

# The figures of scripts/bench.
mkdir -p tree/bench
cp /bin/echo tree/bench/sthread-bench
bench() { PATH=$work/bin:$PATH "$scripts/bench" --build tree "$@" 2>bench.log; }
[ "$(bench --filter x --json file --machine process)" = '--json=file --filter x --machine process' ] ||
    fail 'bench: other arguments'
bench --count --json figures.json --filter x >/dev/null || { cat bench.log; fail 'bench --count'; }
[ "$(cat figures.json)" = "$FIGURES" ] || fail 'bench --count: the figures'
has shift=0,sleep=off
bench --build no-such-tree >/dev/null && fail 'bench without a program'
FIGURES='' bench --count >/dev/null && fail 'bench --count where the machine died'
exit 0

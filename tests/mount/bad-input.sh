#!/bin/sh
# each mistake gives one sentence that says what to do, and exit status 1
. "$(dirname "$0")/../lib/mount.sh"
sbxfs=$SBXFS_BUILD/sbxfs
unset XGEN_API_KEY XGEN_TOKEN SBXFS_API_KEY || true

# refused WORD COMMAND ...: exit 1, one line, the word in it, nothing mounted
refused() {
	word=$1
	shift
	status=0
	timeout 60 "$@" >"$T/out" 2>&1 </dev/null || status=$?
	same "exit status of $*" $status 1
	same "lines of '$(cat "$T/out")'" "$(wc -l <"$T/out")" 1
	grep -qi -- "$word" "$T/out" ||
		fail "'$(cat "$T/out")' does not speak of '$word'"
	is_mounted && fail "mounted all the same"
	return 0
}

refused nonsense "$sbxfs" -o nonsense "local:$T/sandboxes" "$M"
refused nosuch "$sbxfs" nosuch+http://127.0.0.1:1 "$M"
refused missing "$sbxfs" "local:$T/sandboxes" "$T/missing"
: >"$T/file"
refused director "$sbxfs" "local:$T/sandboxes" "$T/file"
mkdir "$T/full"
: >"$T/full/x"
refused empty "$sbxfs" "local:$T/sandboxes" "$T/full"
refused key "$sbxfs" xgen+http://127.0.0.1:1 "$M"
export XGEN_API_KEY=secret-key-of-the-test
refused 127.0.0.1:1 "$sbxfs" xgen+http://127.0.0.1:1 "$M"
echo key >"$T/key"
chmod 644 "$T/key"
refused key "$sbxfs" -o "keyfile=$T/key" xgen+http://127.0.0.1:1 "$M"
grep -rq secret-key-of-the-test "$T/out" && fail "the key was shown"

mount_local
status=0
"$sbxfs" "local:$T/other" "$M" >"$T/out" 2>&1 || status=$?
same "mounting over a mount" $status 1
unmount

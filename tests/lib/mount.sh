# For tests/mount/*.sh, sourced: a mount of its own in a folder of its own.
#
#	$T  temporary folder	$M  mountpoint	$BOX  sandbox "t"  $W  its files
#
# Everything is taken down on exit, and what is left behind fails the test.
# With SBXFS_SERVICE mount_one mounts that service's stand-in.
set -eu
: "${SBXFS_BUILD:?is the meson build folder}"
T=$(mktemp -d "${TMPDIR:-/tmp}/sbxfs-test.XXXXXX")
M=$T/mnt BOX=$M/t W=$M/t/workspace
mkdir "$M" "$T/sandboxes"
daemon= standin=

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

same() { # what got wanted
	[ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}

# wait_for SECONDS COMMAND ...: until it succeeds
wait_for() {
	n=$(($1 * 50))
	shift
	while ! "$@"; do
		n=$((n - 1))
		[ $n -gt 0 ] || fail "waited too long for: $*"
		sleep 0.02
	done
}

is_mounted() { grep -q " $M fuse" /proc/mounts; }

# mount_local [OPTION ...]: the bundled agent, in the foreground mode
mount_local() {
	mount_source "$@" "local:$T/sandboxes"
}

# mount_one [OPTION ...]: the same, or the stand-in of a service
mount_one() {
	if [ "${SBXFS_SERVICE:-xgen}" = xgen ]; then
		mount_local "$@"
		return
	fi
	records=
	# copies after each of some thousand runs would take their time
	[ "$SBXFS_SERVICE" != timetravel ] || records=--records
	STANDIN_KEY=test-key /usr/bin/python3 \
		"$(dirname "$0")/../services/$SBXFS_SERVICE.py" --stay \
		--dir "$T/sandboxes" $records ${STANDIN_TRAITS:-} \
		>"$T/ready" 2>"$T/standin.log" &
	standin=$!
	wait_for 60 is_ready_or_dead
	port=$(sed -n 's/^ready //p' "$T/ready")
	[ -n "$port" ] || { cat "$T/standin.log" >&2; fail "no stand-in"; }
	export SBXFS_API_KEY=test-key XDG_STATE_HOME="$T"
	mount_source "$@" "$SBXFS_SERVICE+http://127.0.0.1:$port"
}

is_ready_or_dead() { [ -s "$T/ready" ] || is_gone $standin; }

# mount_source [OPTION ...] SOURCE
mount_source() {
	"$SBXFS_BUILD/sbxfs" -f "$@" "$M" >"$T/log" 2>&1 &
	daemon=$!
	wait_for 60 is_mounted_or_dead
	is_mounted || { cat "$T/log" >&2; fail "sbxfs did not mount"; }
}

is_mounted_or_dead() { is_mounted || ! kill -0 $daemon 2>/dev/null; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }

unmount() {
	fusermount3 -u "$M" || fail "unmounting: busy"
	wait_for 60 is_gone $daemon
	wait $daemon || fail "sbxfs ended with status $?"
	daemon=
}

run() { # run COMMAND: in the sandbox, through exec
	(echo "$1" >&3; cat <&3) 3<>"$BOX/exec"
}

clean_up() {
	status=$?
	trap - EXIT
	set +e
	cd /
	if is_mounted; then
		fusermount3 -u "$M" 2>/dev/null || fusermount3 -uz "$M" ||
			status=1
	fi
	if [ -n "$daemon" ]; then
		n=3000
		while ! is_gone $daemon && [ $n -gt 0 ]; do
			n=$((n - 1)); sleep 0.02
		done
		is_gone $daemon || { echo "FAIL: sbxfs goes on" >&2
			kill -9 $daemon; status=1; }
	fi
	if [ -n "$standin" ]; then
		kill $standin
		wait $standin
	fi
	if pgrep -f "$T/" >/dev/null; then
		sleep 0.5
		if pgrep -af "$T/"; then
			echo "FAIL: processes left behind" >&2
			status=1
		fi
	fi
	if grep -qE 'AddressSanitizer|runtime error:|LeakSanitizer' \
		"$T/log" 2>/dev/null; then
		status=1
	fi
	[ $status = 0 ] || { echo "--- log:"; tail -n 80 "$T/log"; } >&2
	rm -rf "$T"
	exit $status
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

#!/bin/sh
# create, find, name, destroy; background mounting; what survives a remount
. "$(dirname "$0")/../lib/mount.sh"
mount_local
same "an empty service" "$(ls "$M")" new
mkdir "$M/one" || fail "mkdir"
mkdir "$M/one" 2>/dev/null && fail "the same name twice"
exec 3<>"$M/new"
printf 'name=two\ntemplate=base\nenv.X=1\n' >&3 || fail "writing to new"
same "new gives the name" "$(cat <&3)" two
exec 3>&-
same "the listing" "$(ls "$M" | tr '\n' ' ')" "new one two "
id=$(sed -n 's/^id: //p' "$M/one/status")
same "the id is a way, too" "$(sed -n 's/^name: //p' "$M/$id/status")" one
same "state" "$(sed -n 's/^state: //p' "$M/one/status")" running
ls "$M/nosuch" 2>"$T/err" && fail "a sandbox that is none"
grep -q "No such file" "$T/err" || fail "wrong error: $(cat "$T/err")"
echo kept >"$M/one/workspace/file"
rmdir "$M/two" || fail "rmdir"
same "after rmdir" "$(ls "$M" | tr '\n' ' ')" "new one "
for f in status ports keepalive info.json; do
	cat "$M/one/$f" >/dev/null || fail "reading $f"
done
for f in version config errors; do
	cat "$M/.sbxfs/$f" >/dev/null || fail "reading .sbxfs/$f"
done
grep -q '^remaining_s: [0-9]' "$M/one/keepalive" || fail "keepalive"
touch "$M/one/keepalive" || fail "touch keepalive"
echo nonsense >"$M/one/status" 2>/dev/null && fail "a verb that is none"
grep -q '^last_error: .*nonsense' "$M/one/status" || fail "last_error"
unmount

# in the background: the command returns when it is usable
"$SBXFS_BUILD/sbxfs" "local:$T/sandboxes" "$M" || fail "background"
same "kept over a remount" "$(cat "$M/one/workspace/file")" kept
fusermount3 -u "$M"
gone() { ! pgrep -f "$T/sandboxes" >/dev/null; }
wait_for 60 gone
"$SBXFS_BUILD/sbxfs" "local:$T/sandboxes//one" "$M" || fail "SOURCE/ID"
same "one sandbox only" "$(cat "$M/workspace/file")" kept
rmdir "$M/workspace/none" 2>/dev/null && fail "rmdir of nothing"
fusermount3 -u "$M"
wait_for 60 gone

locked() { ! flock -n "$T/sandboxes/.agent" true; }
# a folder has one mount; the next may come as soon as the last is gone
"$SBXFS_BUILD/sbxfs" "local:$T/sandboxes" "$M" || fail "mounting again"
mkdir "$T/mnt2"
"$SBXFS_BUILD/sbxfs" "local:$T/sandboxes" "$T/mnt2" 2>"$T/err" &&
	fail "two mounts of one folder"
same "one sentence" "$(wc -l <"$T/err")" 1
grep -q "mounted already" "$T/err" || fail "wrong reason: $(cat "$T/err")"
fusermount3 -u "$M"
wait_for 60 gone
# ... however long that one has to clear up behind it
flock "$T/sandboxes/.agent" sleep 4 &
wait_for 60 locked
"$SBXFS_BUILD/sbxfs" "local:$T/sandboxes" "$M" || fail "while one is ending"
wait $!
for i in 1 2 3; do
	fusermount3 -u "$M"
	"$SBXFS_BUILD/sbxfs" "local:$T/sandboxes" "$M" ||
		fail "mounting right after unmounting"
done
fusermount3 -u "$M"
wait_for 60 gone

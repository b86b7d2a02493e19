#!/bin/sh
# vim saves with a backup; a swap file comes and goes; nothing else is left
. "$(dirname "$0")/../lib/mount.sh"
mount_one
mkdir "$BOX"
printf 'one\ntwo\n' >"$W/text"
vim -u NONE -es -c 'set backup writebackup backupext=~ backupskip= fsync' \
	-c '%s/two/three/' -c 'wq' "$W/text" </dev/null || fail "vim: $?"
same "the saved text" "$(cat "$W/text")" "one
three"
same "the backup" "$(cat "$W/text~")" "one
two"
same "the folder" "$(ls -A "$W" | tr '\n' ' ')" "text text~ "
same "the sandbox sees it" "$(run 'cat text')" "one
three"
unmount

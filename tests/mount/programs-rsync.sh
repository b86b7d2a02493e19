#!/bin/sh
# rsync -a both ways finds no difference afterwards, by checksum
. "$(dirname "$0")/../lib/mount.sh"
mount_one
mkdir "$BOX"

src=$T/src
mkdir -p "$src/deep/er" "$src/empty"
head -c 3000000 /dev/urandom >"$src/big"
printf 'x' >"$src/deep/er/one"
: >"$src/deep/nothing"
printf 'name' >"$src/with space and ünïcode"
ln -s deep/er/one "$src/link"
ln "$src/deep/er/one" "$src/hard"
chmod 750 "$src/deep"
chmod 600 "$src/hard"
touch -d '2001-02-03 04:05:06.123456789' "$src/big" "$src/deep/nothing"
i=0
while [ $i -lt 300 ]; do
	echo "file $i" >"$src/deep/f$i"
	i=$((i + 1))
done

rsync -aH "$src/" "$W/copy/"
same "differences after copying in" \
	"$(rsync -aHi --no-o --no-g --checksum --dry-run "$src/" "$W/copy/")" ""
mkdir "$T/back"
rsync -aH "$W/copy/" "$T/back/"
same "differences after copying out" \
	"$(rsync -aHi --no-o --no-g --checksum --dry-run "$src/" "$T/back/")" ""
same "a second copy's work" \
	"$(rsync -aHi --no-o --no-g "$src/" "$W/copy/")" ""
same "the sandbox sees the same" "$(run 'cd copy && cat deep/er/one hard link')" xxx
same "mtime in the sandbox" "$(run 'stat -c %y copy/big')" \
	"$(TZ=UTC stat -c %y "$src/big")"
unmount

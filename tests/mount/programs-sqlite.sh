#!/bin/sh
# sqlite3 writes a database on the mount, with rollback journal and with WAL
. "$(dirname "$0")/../lib/mount.sh"
mount_one
mkdir "$BOX"
for mode in delete wal; do
	sqlite3 "$W/$mode.db" "PRAGMA journal_mode=$mode;" >/dev/null
	sqlite3 "$W/$mode.db" "
		CREATE TABLE t(i INTEGER PRIMARY KEY, s TEXT);
		WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL
			SELECT x + 1 FROM n WHERE x < 5000)
		INSERT INTO t SELECT x, 'row ' || x FROM n;
		UPDATE t SET s = s || '!' WHERE i % 7 = 0;
		DELETE FROM t WHERE i % 5 = 0;"
	same "$mode: rows" "$(sqlite3 "$W/$mode.db" 'SELECT count(*) FROM t')" 4000
	same "$mode: check" "$(sqlite3 "$W/$mode.db" 'PRAGMA integrity_check')" ok
done
# two writers at once exclude each other and lose nothing
sqlite3 "$W/delete.db" 'CREATE TABLE c(n)'
for p in 1 2; do
	(i=0; while [ $i -lt 20 ]; do
		sqlite3 -cmd '.timeout 20000' "$W/delete.db" \
			"INSERT INTO c VALUES($p)"
		i=$((i + 1))
	done) &
	eval "p$p=$!"
done
wait $p1 || fail "writer 1"
wait $p2 || fail "writer 2"
same "both writers' rows" "$(sqlite3 "$W/delete.db" 'SELECT count(*) FROM c')" 40
unmount

/*
 * The remote file protocol: what sbxfs and its helper in the sandbox say
 * to each other.  This header is the specification; link.h carries the
 * frames, msg.h writes and reads the messages.
 *
 * CARRIER.  Two byte streams (the helper's stdin and stdout).  The one
 * towards the helper may deliver carrier units in any order, but never
 * tears one (xgen: one ExecStdin message, at most 32755 bytes); a unit
 * holds whole frames only.  The one from the helper keeps order and may be
 * cut anywhere.
 *
 * FRAME.  16 bytes of header, integers big endian, then the payload:
 *
 *	u32 length	bytes of payload; bit 31 (SBX_FRAME_MORE): the last
 *			message in it goes on in the next numbered frame
 *	u32 magic	SBX_FRAME_MAGIC ^ length: a cheap check against noise
 *	u32 seq		1, 2, 3 ... in each direction; 0 is a control frame
 *	u32 ack		highest seq received so far without a gap
 *
 * A payload is one or more messages, one after the other, each one msgpack
 * array, at most SBX_MESSAGE_MAX bytes.  Numbered frames form one total
 * order in each direction, whatever order they arrive in: the receiver
 * sorts them (and may drop a peer that is ahead by more than
 * SBX_WINDOW_TO_HELPER).  The helper carries out requests in that order and
 * sends replies and events in the order in which things happened; so a
 * change is announced before any reply that
 * implies it, and whoever applies what arrives in order of arrival always
 * holds a state that was true.
 *
 * WINDOW.  Each side keeps what it sent until it is acknowledged, at most
 * SBX_WINDOW_TO_HELPER (SBX_WINDOW_TO_CLIENT) bytes of payload, and sends
 * no more than that.  Whoever received a quarter of the window without
 * having had anything to say sends an empty control frame (length 0), which
 * carries the ack.
 *
 * SESSION.  The client starts "helper SESSION" (32 hex digits; the
 * environment of that process is inherited by commands).  The first process
 * of a session becomes its daemon; later ones hand their stdin and stdout to
 * it over a private socket and wait.  A new pair of streams replaces the old
 * one.  On each new pair each side first sends one control frame with one
 * hello message; then whatever the other has not received, judged by the
 * hello's "received", is sent again.  If the helper's instance differs from
 * the one known before, its state is new: nothing is sent again, and the
 * client starts a new epoch (new directories, handles and watches; requests
 * in flight have an unknown outcome).  A client starting afresh uses a new
 * SESSION.  The helper ends itself after SBX_HELPER_LINGER_S seconds
 * without any frame, not counting those in which it was frozen together with
 * its sandbox; the client sends an empty control frame every
 * SBX_PING_S seconds; the helper answers an empty control frame with one if
 * it has sent nothing for a second.
 *
 * BATCH.  Where a carrier has no streams but commands that are run to their
 * end, the client starts "helper SESSION --batch WAIT_MS PARK_MS MAX_BYTES
 * MARK" for each exchange.  Its stdin is, as base64, a hello and at once all
 * that is not acknowledged and what is new; its stdout is, in lines of base64
 * between a line MARK and a line "MARK LENGTH", the helper's hello and frames,
 * and as the last ones a control frame {more: bool, owed: u32} and an empty
 * one.  So a lost answer is simply asked for again.  The streams are given up
 * when every request of the batch is answered that can be answered now
 * (waiting for locks, or for room in a pipe, is not waited for), or after
 * WAIT_MS, or when MAX_BYTES are full: more says that something is queued, owed
 * how many requests are being worked on.  With PARK_MS they are kept that long
 * until there is something to say.  A hello of another instance than the
 * helper's (not 0): what follows it is dropped.  Such a helper ends after
 * SBX_BATCH_LINGER_S seconds without a batch.  Any helper that serves nobody
 * ends when its socket is removed, as with the folders of its sandbox.
 *
 * Hello (control frame, seq 0), a map with string keys, unknown keys ignored:
 *   client: {v: 1, session: str, instance: u64 (0 at first), received: u32,
 *            window: u64 (bytes to be sent unacknowledged towards it, where
 *            the carrier keeps less than SBX_WINDOW_TO_CLIENT; 0: that)}
 *   helper: {v: 1, session: str, instance: u64, received: u32, version: str,
 *            pid, uid, gid: u32, groups: [u32] (SBX_HELLO_GROUPS, and one more
 *            if there are more), machine: str, cwd: str (the workspace: the
 *            directory it was started in, absolute), home: str, features: u32
 *            (SBX_FEATURE_*)}
 * Quit (control frame): the map {quit: true}; the helper kills the jobs of
 * the session, removes its own file if asked by {remove: true}, and ends.
 *
 * REQUEST.  [op, id, arguments ...], op from enum sbx_wire_op, id a u32
 * chosen by the client, 0 for "no reply wanted, not even an error".
 * Arguments are positional; trailing ones may be left out and are then 0,
 * nil or empty; further ones are ignored.  Flags, modes, errnos and open
 * flags are Linux x86-64 numbers (fcntl.h, errno.h of asm-generic), times
 * are pairs of seconds (i64) and nanoseconds (u32), names are bin or str,
 * any bytes but '/' and NUL, 1 to 255 of them and neither "." nor "..",
 * data is bin.
 *
 * REPLY.  [SBX_MSG_REPLY, id, errno, results ...]: errno 0 is success,
 * results are there on success only.  Long answers send [SBX_MSG_PART, id,
 * elements ...] any number of times before the reply; "part:" below names
 * the elements.
 *
 * WHERE.  Objects are addressed by three consecutive arguments written
 * "at": [dir u64, name, ino u64].
 *   - dir is a directory number, name an entry in it: that entry itself,
 *     symbolic links are never followed; if ino is not 0 and the entry is
 *     another inode by now, the answer is ESTALE.
 *   - an empty name is the directory itself.
 *   - dir 0: ino is a file handle instead.
 * Directory numbers and handles are chosen by the client, never 0, handles
 * and directories in spaces of their own.  SBX_DIR_WORKSPACE and
 * SBX_DIR_ROOT exist from the start.  An unknown one is answered ESTALE.
 *
 * ATTR.  An array of 17: [mode, nlink, uid, gid, size, blocks, ino, dev,
 * rdev, atime_s, atime_ns, mtime_s, mtime_ns, ctime_s, ctime_ns, blksize,
 * flags (SBX_ATTR_*)].  dev and rdev as makedev(3) gives them.
 */
#ifndef SBX_WIRE_PROTO_H
#define SBX_WIRE_PROTO_H

#include <stdbool.h>
#include <stdint.h>

#define SBX_WIRE_VERSION 1
#define SBX_FRAME_MAGIC	 0x53425846u /* "SBXF" */
#define SBX_FRAME_MORE	 0x80000000u
#define SBX_FRAME_HEADER 16
#define SBX_MESSAGE_MAX	 (512 * 1024)
/* xgen: 32768 per WebSocket message, less envelope (9) and process id (4) */
#define SBX_FRAME_MAX_TO_HELPER 32755 /* header included */
#define SBX_FRAME_MAX_TO_CLIENT (256 * 1024)
/* xgen keeps in memory what the helper has not read */
#define SBX_WINDOW_TO_HELPER (4 * 1024 * 1024)
#define SBX_WINDOW_TO_CLIENT (4 * 1024 * 1024)
#define SBX_JOBS_MAX	     1024 /* that run */
#define SBX_HELPER_LINGER_S  40
#define SBX_BATCH_LINGER_S   3600
#define SBX_PING_S	     10
#define SBX_WRITE_MAX	     32000	   /* bytes of data in one request */
#define SBX_READ_PIECE	     (64 * 1024)   /* data of one part or reply */
#define SBX_READ_MAX	     (1024 * 1024) /* of one read request */
#define SBX_CONTENT_FILES    256	   /* of one content request */
#define SBX_HELLO_GROUPS     64
#define SBX_TREE_SMALL	     1024 /* bytes: see TREE */
#define SBX_TREE_LARGE	     (128 * 1024)
#define SBX_TARGET_SMALL     255 /* bytes: see LOOKUP */

#define SBX_DIR_WORKSPACE 1
#define SBX_DIR_ROOT	  2
#define SBX_DIR_FIRST	  16 /* the client's own numbers start here */

enum sbx_feature {
	SBX_FEATURE_INOTIFY = 1,
	SBX_FEATURE_PTY = 2,
	SBX_FEATURE_PORTS = 4,
	SBX_FEATURE_ROOT_USER = 8, /* may act for other users: see CREDS */
};

enum sbx_attr_flag {
	SBX_ATTR_XATTR = 1, /* it has, or may have, extended attributes */
	SBX_ATTR_VOLATILE =
		2, /* proc, sysfs and such: nobody tells of changes */
};

/*
 * Requests.  "-> x" is the reply's results; no arrow: none.
 * Those marked C are changes.
 */
enum sbx_wire_op {
	/*
	 * directories: number them, watch them, list them.
	 *
	 * DIR [new u64, at(3), watch bool] -> attr, watched bool
	 * Gives a directory the number new (which may be known already: then
	 * only the watch changes).  With watch, everything that happens to
	 * its entries from before the answer on is told by SBX_MSG_CHANGE.
	 * Usually sent with id 0 just before the first request that uses
	 * the number; if it fails those requests get its errno.
	 */
	SBX_OP_DIR = 1,
	/* FORGET [dir, dir, ...]  drops numbers and their watches */
	SBX_OP_FORGET = 2,
	/*
	 * LOOKUP [at(3), content u32] -> attr, content|nil
	 * A regular file of at most "content" bytes comes with its content,
	 * as with CONTENT; a symbolic link, with its target if that has at
	 * most SBX_TARGET_SMALL bytes.  An empty one: READLINK would fail with
	 * EACCES (proc).
	 */
	SBX_OP_LOOKUP = 3,
	/*
	 * LIST [dir u64, flags 0] -> count
	 * part: one array [[name, attr, target] ...], without "." and "..";
	 * attr nil for an entry that cannot be examined; target of symbolic
	 * links only, as with LOOKUP, or nil
	 */
	SBX_OP_LIST = 4,
	/*
	 * TREE [dir u64, base u64, max_dirs u32, max_depth u32,
	 *       max_entries u32, content u32, watch bool] -> dirs, entries
	 * part: dir, complete bool,
	 *       one array [[name, attr, number|0, content|nil] ...]
	 * Breadth first.  Subdirectories get the numbers base, base + 1, ...
	 * (as by DIR with watch).  Symbolic links come with their target, as
	 * with LOOKUP, and regular files of at most "content" bytes with their
	 * content, as with CONTENT; of those above SBX_TREE_SMALL at most
	 * SBX_TREE_LARGE bytes in all.  A directory may be spread over several
	 * parts, the last of which says complete; one without such a part was
	 * not listed to its end (limits, rights).  dir must not be among the
	 * numbers that may be given.
	 */
	SBX_OP_TREE = 5,
	/*
	 * CONTENT [dir u64, content u32, [[name, ino u64] ...]] -> count
	 * part: one array [content|nil ...]
	 * What these files hold, in their order, before anybody asks for it:
	 * their times of access stay.  nil: the name is not that inode, not a
	 * regular file of at most "content" bytes (and 64 KiB), cannot be
	 * read, or not without changing its time of access.  At most
	 * SBX_CONTENT_FILES files.
	 */
	SBX_OP_CONTENT = 6,

	/*
	 * attributes.
	 * GETATTR [at(3)] -> attr
	 * SETATTR C [at(3), valid, mode, uid, gid, size, atime_s, atime_ns,
	 *         mtime_s, mtime_ns] -> attr;  valid: SBX_SET_*, with
	 *         UTIME_NOW where SBX_SET_*_NOW
	 * READLINK [at(3)] -> target
	 * ACCESS [at(3), mask]
	 * STATFS [at(3)] -> bsize, frsize, blocks, bfree, bavail, files, ffree,
	 *         namelen
	 * GETXATTR [at(3), name] -> value (at most 64 KiB)
	 * LISTXATTR [at(3)] -> names, each ended by NUL
	 * SETXATTR C [at(3), name, value, flags] -> attr
	 * REMOVEXATTR C [at(3), name] -> attr
	 */
	SBX_OP_GETATTR = 16,
	SBX_OP_SETATTR = 17,
	SBX_OP_READLINK = 18,
	SBX_OP_ACCESS = 19,
	SBX_OP_STATFS = 20,
	SBX_OP_GETXATTR = 21,
	SBX_OP_LISTXATTR = 22,
	SBX_OP_SETXATTR = 23,
	SBX_OP_REMOVEXATTR = 24,

	/*
	 * names.
	 * CREATE C [dir, name, handle u64, flags, mode, umask]
	 *        -> attr, created bool;
	 *        open(2) with O_CREAT; flags may hold O_EXCL, O_TRUNC,
	 *        O_APPEND; O_TMPFILE: name is empty
	 * MKDIR C [dir, name, mode, umask, new u64] -> attr, watched bool,
	 *        empty bool
	 *        gives it the number new and watches it, as DIR, unless new
	 *        is 0; watched false: it has no number.  empty: still, when
	 *        it was watched
	 * MKNOD C [dir, name, mode, rdev, umask] -> attr
	 * SYMLINK C [dir, name, target] -> attr
	 * LINK C [at(3), dir, name] -> attr
	 * UNLINK C [dir, name, ino, handle u64]; handle not 0: only if it is
	 *        what that has open, else ESTALE
	 * RMDIR C [dir, name, ino]
	 * RENAME C [dir, name, dir, name, flags] -> ino of what moved
	 *        (flags RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT)
	 */
	SBX_OP_CREATE = 32,
	SBX_OP_MKDIR = 33,
	SBX_OP_MKNOD = 34,
	SBX_OP_SYMLINK = 35,
	SBX_OP_LINK = 36,
	SBX_OP_UNLINK = 37,
	SBX_OP_RMDIR = 38,
	SBX_OP_RENAME = 39,

	/*
	 * file content.
	 * OPEN [handle u64, at(3), flags] -> attr
	 *      After ESTALE, if the name is looked up again, or a CHANGE
	 *      tells of it, that inode can be opened for a moment by the
	 *      name it had though another has taken it
	 * CLOSE [handle]
	 * READ [handle, offset, length <= SBX_READ_MAX]
	 *      -> data, eof bool, atime_s, atime_ns (after it)
	 *      part: data, at most SBX_READ_PIECE, the last piece in the
	 *      reply; eof: less than length was there
	 * WRITE C [handle, offset, data] -> attr; with O_APPEND the offset is
	 *      ignored; always all of data or an error
	 * FSYNC C [handle | 0, datasync bool, dir] -> attr; handle 0: dir
	 * FALLOCATE C [handle, mode, offset, length] -> attr
	 * SEEK [handle, offset, whence] -> offset
	 * COPY C [handle_in, offset, handle_out, offset, length, flags]
	 *      -> copied (may be less: ask again), attr of the target
	 * LOCK [handle, SBX_LOCK_*, type F_RDLCK|F_WRLCK|F_UNLCK, start, len,
	 *      owner u64] -> type, start, len, pid (of SBX_LOCK_GET)
	 *      Locks of different owners conflict, on one handle, too.
	 *      Owner 0: the handle's own description.  F_UNLCK and
	 *      SBX_LOCK_CANCEL (which unlocks nothing) give up that owner's
	 *      waiting on that handle, CLOSE everybody's: EINTR
	 * HASH [at(3), offset, length (0: to the end)] -> sum u64, bytes
	 *      for comparing caches in bulk: FNV-1a (64 bit) over
	 *      little-endian words of 8 bytes, the last filled up with zeros
	 */
	SBX_OP_OPEN = 48,
	SBX_OP_CLOSE = 49,
	SBX_OP_READ = 50,
	SBX_OP_WRITE = 51,
	SBX_OP_FSYNC = 52,
	SBX_OP_FALLOCATE = 53,
	SBX_OP_SEEK = 54,
	SBX_OP_COPY = 55,
	SBX_OP_LOCK = 56,
	SBX_OP_HASH = 57,

	/*
	 * order.
	 * BARRIER [] answered when everything before it is done and every
	 *       event of it has been sent (as any reply is)
	 * BATCH C [stop bool, [request ...]] -> [reply ...]: requests as above
	 *       with id 0 carried out in turn; each reply is [errno, results
	 *       ...]; with stop the first error ends it (shorter array).
	 *       Not in a batch: LIST, TREE, HASH, STDIN, BATCH, reads of more
	 *       than SBX_READ_PIECE, waiting for locks (EOPNOTSUPP).  ENOBUFS:
	 *       not carried out, since the reply would be too long
	 * CREDS [uid, gid, [groups]]: OPEN and what is marked C act as that
	 *       user from now on (only with SBX_FEATURE_ROOT_USER, else EPERM).
	 *       The way there is found, modes without owners, times and
	 *       extended attributes are set, and everything else is done as
	 *       the helper's own user, since whoever asks has checked the
	 *       rights.  [] ends it.  After one that failed those requests
	 *       are refused.
	 * The helper has no umask: modes are taken as given, less the umask
	 * that the request brings; a directory's default ACL goes before it.
	 */
	SBX_OP_BARRIER = 64,
	SBX_OP_BATCH = 65,
	SBX_OP_CREDS = 66,

	/*
	 * commands.  Job numbers are the client's, never 0, not used again.
	 * EXEC [job u32, [argv ...], cwd (bin; empty: workspace, relative ones
	 *      from there), {name: value} set over the inherited environment,
	 *      flags SBX_EXEC_*, cols, rows, credit u32, timeout_ms u32 (for
	 *      exchange.h; the helper lets it run)] -> pid
	 *      Own session and process group.  The errno is that of a failed
	 *      chdir or execve (found out before the answer).
	 * STDIN [job, data (empty: end of input)] answered when the bytes are
	 *      in the pipe; EPIPE when nobody can read them.  At most 2 MiB
	 *      per job wait in the helper: more is EAGAIN and lost.
	 * SIGNAL [job, signo] to the whole process group; ESRCH if it is gone
	 * RESIZE [job, cols, rows]
	 * CREDIT [job, bytes u32] so many bytes more may be sent of each
	 *      stream (stdout and stderr have credits of their own, both
	 *      raised by this)
	 * CREDIT_ONE [job, stream, bytes]: CREDIT for one stream only
	 * HANGUP [job] closes its terminal: SIGHUP to the process group and
	 *      to whatever is in its foreground
	 * CLOSE_OUTPUT [job, stream] nobody wants that stream any more: what
	 *      the command writes to it fails (EPIPE); its end is told
	 */
	SBX_OP_EXEC = 80,
	SBX_OP_STDIN = 81,
	SBX_OP_SIGNAL = 82,
	SBX_OP_RESIZE = 83,
	SBX_OP_CREDIT = 84,
	SBX_OP_CREDIT_ONE = 85,
	SBX_OP_HANGUP = 90,
	SBX_OP_CLOSE_OUTPUT = 86,

	/*
	 * ports.
	 * PORTS [] -> [[port, address str, pid or 0] ...] listening TCP, but
	 *      for what belongs to no process here where that can be told
	 * PORT_WATCH [on bool] SBX_MSG_PORT is sent for each change (looked
	 *      for every 200 ms while on), first for each open one
	 */
	SBX_OP_PORTS = 96,
	SBX_OP_PORT_WATCH = 97,

	/*
	 * REPORT [on bool] -> dirs, errno: everything that happens in the
	 * workspace is told by SBX_MSG_REPORT, from the answer on, which
	 * comes when all directories are watched; errno: why some are not
	 */
	SBX_OP_REPORT = 104,
};

enum sbx_set {
	SBX_SET_MODE = 1,
	SBX_SET_UID = 2,
	SBX_SET_GID = 4,
	SBX_SET_SIZE = 8,
	SBX_SET_ATIME = 16,
	SBX_SET_MTIME = 32,
	SBX_SET_ATIME_NOW = 64,
	SBX_SET_MTIME_NOW = 128,
};

enum sbx_lock {
	SBX_LOCK_GET = 1,
	SBX_LOCK_SET = 2,
	SBX_LOCK_WAIT = 3,
	SBX_LOCK_FLOCK = 4,	 /* or-ed: flock(2) instead of fcntl(2) */
	SBX_LOCK_FLOCK_WAIT = 8, /* flock without LOCK_NB */
	SBX_LOCK_CANCEL = 16,	 /* only gives up waiting */
};

enum sbx_exec_flag {
	SBX_EXEC_TTY = 1, /* pseudo terminal; everything is stdout */
	SBX_EXEC_STDIN =
		2, /* keep stdin open for SBX_OP_STDIN; else /dev/null */
	SBX_EXEC_MERGE = 4, /* stderr into stdout's pipe: exact order */
};

/* About commands, which may be runs of their own. */
static inline bool sbx_op_is_of_jobs(uint32_t op)
{
	return op >= SBX_OP_EXEC && op <= SBX_OP_HANGUP;
}

/* what the helper sends */
enum sbx_wire_msg {
	SBX_MSG_REPLY = 0,
	SBX_MSG_PART = 1,
	/*
	 * [dir, name, what SBX_CHANGE_*, attr|nil, cookie u32]
	 * Something happened to an entry of a watched directory, and not
	 * through a request of this session (what requests did is known from
	 * their replies; a change that cannot be told apart with certainty is
	 * announced).  attr is the entry's state when this was sent, nil if
	 * it is gone.  Several changes of one entry are folded into one.
	 * cookie joins the two ends of a rename and is 0 otherwise.
	 * An empty name: the directory's own attributes; told, too, when
	 * others added or removed entries.
	 */
	SBX_MSG_CHANGE = 2,
	/* [] events were lost: every watched directory is in doubt */
	SBX_MSG_OVERFLOW = 3,
	/* [dir, errno] this directory is not watched (any more): trust nothing
	 * of it for more than a second */
	SBX_MSG_UNWATCHED = 4,
	/* [job, stream 1|2, data, eof bool]; with SBX_EXEC_TTY or _MERGE
	 * the end of stream 2 is told with that of stream 1 */
	SBX_MSG_OUTPUT = 5,
	/* [job, exit status or 128 + signal, signal or 0, duration_ms,
	 *  printed u64 x 2, snapshot]
	 * after both streams' eof or 200 ms after the process ended if
	 * another holds them open or there is no credit (output may then still
	 * follow: up to so many bytes of each stream it certainly does; left
	 * out: none); every change the job made before its end has been
	 * announced.  snapshot: the name of one that the service took then
	 * (never a helper's) */
	SBX_MSG_EXIT = 6,
	/* [port, open bool] */
	SBX_MSG_PORT = 7,
	/* [level, text] for the log */
	SBX_MSG_LOG = 8,
	/* [what, is directory, path, new path|nil], paths from the workspace
	 * on; what is one of SBX_CHANGE_CREATED, _DELETED, _DATA, _ATTR and
	 * _MOVED_TO (the only one with a new path), or 0: for that directory
	 * nothing is told (empty: something was not told) */
	SBX_MSG_REPORT = 9,
	/* [job, errno] no more will be heard of it; it may go on (never a
	 * helper's: see client/plain.h) */
	SBX_MSG_JOB_LOST = 10,
};

enum sbx_change {
	SBX_CHANGE_CREATED = 1,
	SBX_CHANGE_DELETED = 2,
	SBX_CHANGE_DATA = 4, /* content may differ, even if attr does not */
	SBX_CHANGE_ATTR = 8,
	SBX_CHANGE_MOVED_FROM = 16,
	SBX_CHANGE_MOVED_TO = 32,
};

#endif

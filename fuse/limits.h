/*
 * Every cap of the FUSE front's file part, with its reason, on one page.
 */
#ifndef SFS_LIMITS_H
#define SFS_LIMITS_H

/* Names and attributes remembered, in the whole mount (option cache=): about
 * 330 bytes for each file, so 800,000 files.  The kernel is asked to let go
 * of what is more. */
#define SFS_CACHE_DEFAULT ((size_t)256 << 20)
#define SFS_CACHE_MIN	  ((size_t)1 << 20)
#define SFS_CACHE_MAX	  ((size_t)1 << 40)
/* One folder is listed as a whole however small the cache is: so much more may
 * be in use at a time, which is a folder of 150,000 files.  What is beyond it
 * is not listed (ENOMEM). */
#define SFS_CACHE_SLACK ((size_t)64 << 20)
/* Directories with a number, and so a watch, in one helper: inotify's usual
 * limit is 65536 or more per user. */
#define SFS_MAX_DIRS 60000
/* The deepest path that is told to a helper step by step. */
#define SFS_MAX_DEPTH 4096
/* Folders beside one that is asked for whose watches are set with its own. */
#define SFS_MAX_SIBLINGS 512

/* A directory is small, and listed as a whole once this many names of it were
 * asked for, if its own size is at most this: some 1000 names. */
#define SFS_SMALL_DIR	 (32u << 10)
#define SFS_LOOKUPS_MANY 2
/* ... and with the first name if it is at most this: some 200 names. */
#define SFS_TINY_DIR (8u << 10)

/* Whoever lists this many folders beside each other walks through all of them:
 * so many more are listed ahead at once, doubled each time. */
#define SFS_WALK_MANY 2
#define SFS_WALK_MIN  16
#define SFS_WALK_MAX  128

/* Bytes written and answered, but not acknowledged by the sandbox; each
 * piece counts this many more, so that small ones cannot be too many to be
 * under way at once. */
#define SFS_MAX_UNACKED (4u << 20)
#define SFS_PIECE_COST	512
/* Read-ahead: of one open file, of the whole mount, of one request, and
 * requests at once for one open file. */
#define SFS_READAHEAD_MIN   (256u << 10)
#define SFS_READAHEAD_MAX   (4u << 20)
#define SFS_READAHEAD_TOTAL (32u << 20) /* an eighth of cache=, at most */
#define SFS_READAHEAD_LEAST (1u << 20)
#define SFS_MAX_FETCHES	    8
/* Sent for with the opening of a file: what the kernel asks for at most. */
#define SFS_READ_FIRST (128u << 10)
/* Content of small files before they are opened, within half of the read-ahead
 * of the mount: of one file; brought by a look-up, which may be for nothing;
 * files at a time, at first and at most; bytes; how many entries are looked at
 * for them at once, how many folders deep; and after what time it is held to
 * be of no use if others need the place. */
#define SFS_AHEAD_FILE	 (64u << 10)
#define SFS_AHEAD_LOOKUP (16u << 10)
#define SFS_AHEAD_MIN	 16
#define SFS_AHEAD_FILES	 512
#define SFS_AHEAD_BYTES	 (4u << 20)
#define SFS_AHEAD_STEPS	 2000
#define SFS_AHEAD_DEPTH	 8
#define SFS_AHEAD_MS	 1000
/* So many requests in a row brought nothing: none will, as where nobody may
 * read without changing the time of access. */
#define SFS_AHEAD_IN_VAIN 3
/* Whoever opens this many files of a folder will open more of them. */
#define SFS_READS_MANY 2
/* One copy_file_range request: the helper does nothing else meanwhile. */
#define SFS_MAX_COPY (16u << 20)

/* Locks of programs here, about 50 bytes each: those beyond are ENOLCK. */
#define SFS_MAX_LOCKS 65536

/* After this time a file that stays open is opened in the sandbox, too. */
#define SFS_LAZY_MS 1000

/* A symbolic link's target, with the NUL: as PATH_MAX. */
#define SFS_MAX_TARGET 4096

/* Names that files just lost, and may yet be opened or written by. */
#define SFS_MAX_LOST 64

/* Listings compared at once after events were lost. */
#define SFS_MAX_COMPARE 8
/* Whether an answer has been taken up is looked at this often, and pages are
 * dropped so often for one change; it is taken up when the thread has run for
 * so long, whatever it did, or at the latest after this (where the thread
 * cannot be seen: after that); and so many are remembered.  See shown.c. */
#define SFS_SHOWN_MS	  20
#define SFS_SHOWN_TRIES	  5
#define SFS_ANSWER_RUN_NS 5000000u
#define SFS_ANSWER_MS	  2000
#define SFS_UNSEEN_MS	  100
#define SFS_MAX_ANSWERS	  64
/* Requests of the kernel taken in one turn of the loop. */
#define SFS_REQUESTS_PER_TURN 32
/* Invalidations waiting for the kernel, about 100 bytes each.  Beyond this they
 * begin again with all of them, once the kernel has caught up. */
#define SFS_MAX_NOTIFY 100000
/* ... so many files at a time, and all those of one folder. */
#define SFS_NOTIFY_STEP 10000
/* How often a request is sent to one new helper after the other. */
#define SFS_MAX_RESTARTS 4

/* Further ways to a file (its names, a handle) that are tried when one is out
 * of reach, each for a round trip. */
#define SFS_MAX_WAYS 8

/* What is trusted without end, in seconds: the kernel wants a number. */
#define SFS_FOREVER (365 * 86400.0)
/* What no watch covers is trusted for this long. */
#define SFS_BRIEF    1.0
#define SFS_BRIEF_MS 1000
/* Where each answer costs much, what nobody waits for yet is sent with
 * something else, or at the latest after this: the opening of a file whose
 * content is here, a new file, what is written. */
#define SFS_HOLD_MS 500
/* A call that a signal does not end is let go after this. */
#define SFS_INTERRUPT_MS 1000
/* A change of a program that is being killed: a few round trips. */
#define SFS_DYING_MS 300

#endif

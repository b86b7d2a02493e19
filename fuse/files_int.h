/*
 * What the parts of a sandbox's file tree share: struct sfs_files itself.
 * Only for inode.c, cache.c and their kind; everybody else includes files.h.
 */
#ifndef SFS_FILES_INT_H
#define SFS_FILES_INT_H

#include <string.h>

#include "fuse/entries.h"
#include "fuse/files.h"
#include "fuse/inode.h"
#include "fuse/limits.h"

struct sfs_ahead;
struct sfs_call;
struct sfs_caller;
struct sfs_handle;
struct sfs_listing;
struct sfs_settler;
struct sfs_shown;

/* Calls in order of arrival. */
struct sfs_calls {
	struct sfs_call *first, **end;
};

/* A directory that was used: its number, its watch and its entries. */
struct sfs_dir {
	struct sfs_inode *inode; /* whose this is */
	struct sfs_entries entries;
	uint64_t number; /* 0: none so far */
	struct sfs_dir *number_next;
	struct sfs_dir *lru_prev, *lru_next;
	struct sfs_dir *compare_next;
	struct sfs_listing *listing; /* under way */
	uint32_t epoch;		     /* in which the number was told */
	uint32_t gen;		     /* files->gen if the entries are true */
	uint32_t listed_ms;	     /* when the listing was complete */
	uint32_t changed_ms;	     /* the last change of our own */
	uint64_t answered;	     /* the listing: sbx_remote_waited */
	uint32_t nr_open;	     /* open directories */
	uint32_t foreseen;	     /* under way: sfs_attr_foresee */
	uint32_t told_gen;	     /* files->told_gen when the kernel was
					told to forget all of it */
	bool told, watched, complete;
	bool negatives;	    /* the kernel may hold names that are not there */
	bool changed;	    /* the kernel may hold a listing that is not true */
	bool comparing;	    /* in files->compare */
	bool ahead;	    /* the listing under way is a small one */
	uint8_t lookups;    /* names asked for one by one */
	uint8_t walked;	    /* subdirectories listed one by one */
	uint8_t reads;	    /* files opened to be read: ahead.c */
	uint64_t last_read; /* the last one's cookie */
};

/* A name that a file had. */
struct sfs_lost {
	struct sfs_inode *inode; /* referenced */
	uint64_t dir;
	size_t len;
	bool opens; /* the kernel may still open it by this name */
	char name[256];
};

struct sfs_statfs {
	struct statvfs st;
	uint64_t ms; /* 0: never asked */
};

struct sfs_files {
	struct sfs *fs;
	struct sfs_files *next, **at; /* fs->files */
	struct sbx_remote *remote;
	struct sfs_notify *notify;
	struct sfs_inodes inodes;
	struct sfs_inode *root[2]; /* made when first looked up */
	struct sfs_owners owners[2];
	bool owners_known;
	/* grows whenever everything is in doubt; never 0 */
	uint32_t gen;
	uint32_t told_gen;   /* how often the kernel was told to forget all */
	uint64_t barrier_ms; /* when a command's output or end was seen */
	uint64_t brief_ms;   /* when the kernel was last told to trust briefly,
				and 1; 0: all that was taken back */
	uint64_t stale_ms;   /* when an OPEN found another file */
	/* fresh.c: when everything was told on asking, when that was asked
	 * last, and who waits for it */
	uint64_t fresh_ms, asked_ms;
	bool freshening;
	struct sfs_calls unsure;

	/* directories */
	struct sfs_dir **numbers;
	size_t nr_number_slots;
	struct sfs_dir *lru_first, *lru_last;
	struct sfs_dir *ending; /* nobody refers to them any more: life.c */
	bool ends;
	size_t nr_dirs;
	size_t bytes; /* of fs->cache_bytes */
	/* trim.c: of these the kernel will let go; when that was halved */
	size_t leaving;
	uint64_t leaving_ms;
	size_t max_dirs;			/* limits.h; less in tests */
	struct sfs_dir *compare, **compare_end; /* to be listed anew */
	unsigned int comparing;
	struct sfs_settler *settlers; /* waiting for its end: list.c */
	/* files that are shown as they were, oldest first: shown.c */
	struct sfs_shown *shown, **shown_end;
	uv_timer_t *shown_timer;  /* freed by its own closing */
	uint64_t moment;	  /* grows with each settler */
	struct sfs_inode *moving; /* between the two ends of a rename */
	struct sfs_lost lost[SFS_MAX_LOST]; /* lost.c */
	unsigned int next_lost;

	/* whom the helper was told to act as, and in which epoch; NULL: as
	 * itself */
	struct sfs_caller *acting;
	uint32_t acting_epoch;

	/* ahead.c: content that nobody asked for yet, oldest first; how much
	 * of it there may be, and how often it was used since that grew */
	struct sfs_ahead *ahead, **ahead_end;
	uint32_t nr_ahead, ahead_window, ahead_hits;
	size_t ahead_bytes;
	uint8_t ahead_in_vain; /* requests in a row that brought nothing */
	/* above the folder that was read from last, and when; in which order */
	uint64_t read_up, read_ms;
	bool read_by_name;

	/* changes */
	uint32_t changes; /* sent and not answered */
	size_t unacked;	  /* bytes of writes among them */
	struct sfs_calls throttled;
	/* making.h: a lock of git's, on its way, and who waits to learn
	 * whether its maker has it */
	struct sfs_inode *claim;
	struct sfs_calls claimed;
	/* ... or has not, which it was not told yet, and who that is */
	struct sfs_inode *lost_claim;
	pid_t lost_pid;
	uint32_t nr_made;

	/* locks.c: those held; the last owner's number */
	uint32_t nr_locks, lock_serial;

	/* use */
	uint32_t nr_handles, nr_open_dirs;
	struct sfs_handle *lazy, **lazy_end; /* lazy.h, oldest first */
	struct sfs_statfs statfs[2];
	struct sfs_call *interrupted;
	uv_timer_t *timer; /* sfs_call_tick; freed by its own closing */
	bool closed;	   /* no remote any more */
	struct sfs_leftover leftover; /* once closed */
};

extern const struct sfs_node_ops sfs_file_ops; /* files.c */

/* What is remembered, in bytes: with the allocator's own, and the place in
 * the tables. */
#define SFS_COST_INODE	    (sizeof(struct sfs_inode) + 32)
#define SFS_COST_ENTRY(len) (sizeof(struct sfs_entry) + (len) + 40)
#define SFS_COST_DIR	    (sizeof(struct sfs_dir) + 64)
#define SFS_COST_TARGET	    16

static inline void files_count(struct sfs_files *f, size_t bytes)
{
	f->bytes += bytes;
	f->fs->cache_bytes += bytes;
}
static inline void files_uncount(struct sfs_files *f, size_t bytes)
{
	f->bytes -= bytes;
	f->fs->cache_bytes -= bytes;
}

/* A sandbox that sends names without end is not followed beyond this. */
static inline bool files_are_full(const struct sfs_files *f)
{
	return f->fs->cache_bytes >= f->fs->cache_full;
}

static inline uint64_t files_now(const struct sfs_files *f)
{
	return uv_now(f->fs->loop);
}

#endif

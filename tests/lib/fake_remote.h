/*
 * A remote that a unit test answers by hand, a kernel that writes down what
 * it is told, and a thread of invalidations that does nothing but note: what
 * stands around fuse/files.  Defines the functions of client/remote.h, of
 * fuse/notify.h and those of libfuse that answer requests.
 */
#ifndef TEST_FAKE_REMOTE_H
#define TEST_FAKE_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/remote.h"
#include "fuse/files.h"

struct fuse_req {
	struct sfs *fs;
	struct fuse_ctx ctx;
	fuse_interrupt_func_t interrupt;
	void *data;
	/* the answer */
	int replies, err;
	struct fuse_entry_param entry;
	struct fuse_file_info fi;
	struct stat attr;
	double timeout;
	char bytes[65536];
	size_t len;
};

/* Requests under way, oldest first. */
struct fake_request {
	enum sbx_wire_op op;
	uint64_t arg[6]; /* numbers among the arguments, in order */
	char name[256];	 /* the first name or data */
	uint32_t number;
	struct sbx_buf bytes;
	sbx_reply_fn *done;
	sbx_part_fn *part;
	void *arg_fn;
	bool quiet;
	size_t given; /* bytes of a READ, in parts */
	struct fake_request *next;
};

struct fake {
	uv_loop_t loop;
	struct sfs fs;
	struct sfs_files *files;
	struct fake_request *first;
	uint32_t epoch, last_number;
	bool silent; /* changes are told on asking, up to heard_ms */
	uint64_t heard_ms;
	uint64_t numbers;
	unsigned int sent[256]; /* by op */
	struct sbx_remote_info info;
	char told[8192]; /* invalidations, "entry NAME;inode NAME data;" ... */
	size_t told_len;
	bool (*on_lost)(void *arg, bool first); /* some were dropped */
	void *lost_arg;
	bool kernel_is_slow; /* what waits for invalidations goes on waiting */
	struct {
		void (*fn)(void *arg);
		void *arg;
	} after[16];
	size_t nr_after;
};

struct fake *fake_new(void);
void fake_free(struct fake *f);
fuse_req_t fake_req(struct fake *f);

/* The oldest request under way must be this one; answers it.  attr NULL: no
 * result. */
void fake_answer(struct fake *f, enum sbx_wire_op op, int err,
		 const struct sbx_attr *attr);
/* with a bool behind the attributes (DIR: watched, CREATE: created) */
void fake_answer_flag(struct fake *f, enum sbx_wire_op op,
		      const struct sbx_attr *attr, bool flag);
/* LOOKUP: a file with its content */
void fake_answer_content(struct fake *f, const struct sbx_attr *attr,
			 const char *content);
/* READ: all that was asked for, or the rest of it; each byte is the lowest one
 * of its offset */
void fake_answer_read(struct fake *f);
/* All READs under way have come as parts, and only their answers have not. */
void fake_give_reads(struct fake *f);
/* LIST: these names, all regular files with numbers from ino on, or (ino 0)
 * directories from 5000 on */
void fake_answer_list(struct fake *f, const char *const *names, size_t n,
		      uint64_t ino);
/* The kernel has done what it was told first, of what somebody waits for. */
void fake_kernel_step(struct fake *f);
/* The kernel has done what it was told. */
void fake_kernel_done(struct fake *f);
bool fake_is_idle(const struct fake *f);
/* A new helper: everything under way fails, everything is in doubt. */
void fake_restart(struct fake *f);
/* Whether something would be lost with the helper. */
bool fake_holds(struct fake *f);
void fake_change(struct fake *f, uint64_t dir, const char *name,
		 unsigned int what, const struct sbx_attr *attr);
/* Directories are too large to be listed with the first name. */
#define FAKE_DIR_SIZE 16384
struct sbx_attr fake_attr(mode_t mode, uint64_t ino);

#endif

/*
 * The objects that requests name: "at" of the protocol.  An entry is taken
 * hold of without following links, its inode is checked, and what is done is
 * done to what was held, so nobody can put something else in its place.
 */
#ifndef HELPER_AT_H
#define HELPER_AT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "client/helper/request.h"

struct dir;
struct handle;

struct at {
	struct dir *dir; /* NULL: handle */
	struct handle *handle;
	uint64_t ino;	/* 0: any */
	char name[256]; /* "": the directory itself */
};

/* Takes the next three arguments.  -ESTALE, -EINVAL ... */
int at_get(struct req *q, struct at *at);
/* A directory and a name that is not empty. */
int at_get_name(struct req *q, struct at *at);
/* A name alone: a copy ended by NUL; "" for an empty one. */
int at_copy_name(struct sbx_rd *rd, char name[256]);

/* What was taken hold of: an O_PATH descriptor, or a handle's. */
struct object {
	int fd;
	bool owned;
	struct stat st;
	char path[32]; /* by way of /proc */
};
int object_open(struct helper *h, const struct at *at, struct object *o);
void object_close(struct object *o);
/* at_get, and what it names. */
int at_open(struct req *q, struct at *at, struct object *o);

/* Tells the watch what a change of this object will cause. */
void at_expect(struct helper *h, const struct at *at, uint32_t mask);
int at_attr(struct helper *h, const struct at *at, struct sbx_attr *ret);
/* Appends the attributes as a request's result. */
int at_put_attr(struct req *q, const struct at *at);

#endif

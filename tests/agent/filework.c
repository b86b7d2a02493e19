/* See filework.h. */
#include "tests/agent/filework.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/agent/exec.h"
#include "tests/agent/path.h"
#include "tests/agent/tree.h"

/* Raw calls: glibc's would change every thread of the agent. */
static void thread_capabilities(bool rights)
{
	const uint32_t files = 1u << CAP_DAC_OVERRIDE |
			       1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER |
			       1u << CAP_CHOWN | 1u << CAP_FSETID;
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return;
	data[0].effective = data[0].permitted & (rights ? ~0u : ~files);
	syscall(SYS_capset, &head, data);
}

void agent_filework_become(const struct agent *agent)
{
	gid_t group = 1000;

	if (getuid() || agent->root)
		return;
	if (agent->traits.pod_owners) {
		syscall(SYS_setgroups, 1, &group);
		thread_capabilities(false);
		return;
	}
	syscall(SYS_setgroups, 0, NULL);
	setfsgid(1000);
	setfsuid(1000); /* takes the rights of root along */
}

void agent_filework_unbecome(const struct agent *agent)
{
	if (getuid() || agent->root)
		return;
	setfsuid(0);
	setfsgid(0);
	thread_capabilities(true);
}

void agent_filework_release(struct agent_filework *w)
{
	free(w->path);
	free(w->content);
	msgpack_sbuffer_destroy(&w->out);
}

/* As Go prints an error of a system call: "open /path: no such ..." */
static void work_fail(struct agent_filework *w, const char *what, int err)
{
	char text[128];

	snprintf(text, sizeof(text), "%s", strerror(err));
	*text = (char)tolower((unsigned char)*text);
	snprintf(w->error, sizeof(w->error), "%s " AGENT_WORKSPACE "/%.*s: %s",
		 what, (int)(w->path_len > 200 ? 200 : w->path_len), w->path,
		 text);
}

/* true: it can be used; ENOENT is left to the caller. */
static bool work_resolve(struct agent_filework *w, bool follow,
			 struct agent_path *path)
{
	agent_path_resolve(w->root_fd, w->path, w->path_len, follow, path);
	if (path->why && path->err == ELOOP)
		snprintf(w->error, sizeof(w->error), "%s", path->why);
	else if (path->why)
		snprintf(w->error, sizeof(w->error), "%s: %.*s", path->why,
			 (int)(w->path_len > 200 ? 200 : w->path_len), w->path);
	else if (path->err && path->err != ENOENT)
		work_fail(w, "lstat", path->err);
	return !*w->error;
}

/* Never opens what is no plain file: a device or FIFO has effects. */
static int work_open(struct agent_filework *w, const struct agent_path *path,
		     int flags, const char *what)
{
	char link[64];
	struct stat st;
	int at =
		agent_path_open(w->root_fd, path->text, O_PATH | O_NOFOLLOW, 0);
	int fd = -1;

	if (at < 0 || fstat(at, &st) < 0) {
		work_fail(w, what, at < 0 ? -at : errno);
	} else if (S_ISDIR(st.st_mode)) {
		work_fail(w, flags ? "open" : "read", EISDIR);
	} else if (S_ISFIFO(st.st_mode)) {
		w->never = true;
	} else if (!S_ISREG(st.st_mode)) {
		work_fail(w, what, ENXIO);
	} else {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
		fd = open(link, flags | O_CLOEXEC);
		if (fd < 0)
			work_fail(w, what, errno);
	}
	if (at >= 0)
		close(at);
	return fd;
}

static void work_read(struct agent_filework *w)
{
	struct agent_path path;
	static __thread char data[65536];
	ssize_t n = 0;
	int fd;

	if (!work_resolve(w, true, &path))
		return;
	if (!path.exists) {
		work_fail(w, "open", path.err);
		return;
	}
	fd = work_open(w, &path, O_RDONLY, "open");
	if (fd < 0)
		return;
	while (w->out.size < w->max && (n = read(fd, data, sizeof(data))) > 0)
		msgpack_sbuffer_write(&w->out, data, (size_t)n);
	if (n < 0)
		work_fail(w, "read", errno);
	close(fd);
}

/* Parents that are missing, 0755. */
static int work_make_parents(struct agent_filework *w, const char *path)
{
	char part[PATH_MAX];

	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		const char *slash;
		int fd, r;

		snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		fd = agent_path_open(w->root_fd, part, O_PATH | O_DIRECTORY, 0);
		if (fd >= 0) {
			close(fd);
			continue;
		}
		if (fd != -ENOENT)
			return fd;
		slash = strrchr(part, '/');
		fd = dup(w->root_fd);
		if (slash) {
			close(fd);
			part[slash - part] = 0;
			fd = agent_path_open(w->root_fd, part,
					     O_PATH | O_DIRECTORY, 0);
		}
		if (fd < 0)
			return fd;
		r = mkdirat(fd, slash ? slash + 1 : part, 0755);
		r = r < 0 && errno != EEXIST ? -errno : 0;
		close(fd);
		if (r < 0)
			return r;
	}
	return 0;
}

static void work_write(struct agent_filework *w)
{
	struct agent_path path;
	size_t done = 0;
	int fd, r;

	if (!work_resolve(w, true, &path))
		return;
	if (path.exists) {
		fd = work_open(w, &path, O_WRONLY | O_TRUNC, "open");
	} else {
		r = work_make_parents(w, path.text);
		fd = r < 0 ? r
			   : agent_path_open(w->root_fd, path.text,
					     O_WRONLY | O_CREAT | O_TRUNC |
						     O_NONBLOCK,
					     0644);
		if (fd < 0)
			work_fail(w, r < 0 ? "mkdir" : "open", -fd);
	}
	while (fd >= 0 && done < w->content_len) {
		ssize_t n = write(fd, w->content + done, w->content_len - done);

		if (n < 0) {
			work_fail(w, "write", errno);
			break;
		}
		done += (size_t)n;
	}
	if (fd >= 0)
		close(fd);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void pack_text(msgpack_packer *pk, const char *text)
{
	msgpack_pack_str(pk, strlen(text));
	msgpack_pack_str_body(pk, text, strlen(text));
}

static void list_pack(struct agent_filework *w, msgpack_packer *pk,
		      const char *name, const struct stat *st)
{
	bool other = w->agent->traits.agent_keys;

	msgpack_pack_map(pk, 4);
	pack_text(pk, "name");
	pack_text(pk, name);
	pack_text(pk, "size");
	msgpack_pack_fix_int64(pk, st->st_size);
	pack_text(pk, other ? "is_dir" : "isDir");
	if (S_ISDIR(st->st_mode))
		msgpack_pack_true(pk);
	else
		msgpack_pack_false(pk);
	pack_text(pk, other ? "mod_time" : "modTime");
	msgpack_pack_fix_int64(pk, st->st_mtime);
}

/* The names of a folder, sorted; beyond max bytes it cannot be sent. */
static char **list_names(DIR *dir, size_t max, size_t *ret_nr)
{
	size_t nr = 0, room = 0, bytes = 0;
	char **names = NULL;
	struct dirent *d;

	while ((d = readdir(dir)) && bytes <= max) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (nr == room) {
			char **more = realloc(names, (room + 256) * 2 *
							     sizeof(*names));

			if (!more)
				break;
			names = more;
			room = (room + 256) * 2;
		}
		names[nr] = strdup(d->d_name);
		if (!names[nr])
			break;
		bytes += 45 + strlen(names[nr++]);
	}
	if (nr)
		qsort(names, nr, sizeof(*names), by_bytes);
	*ret_nr = nr;
	return names;
}

static void list_folder(struct agent_filework *w, DIR *dir)
{
	msgpack_sbuffer entries;
	msgpack_packer pk;
	struct stat st;
	size_t nr, listed = 0;
	char **names = list_names(dir, w->max, &nr);

	msgpack_sbuffer_init(&entries);
	msgpack_packer_init(&pk, &entries, msgpack_sbuffer_write);
	for (size_t i = 0; i < nr; i++) {
		/* what has vanished meanwhile is left out */
		if (fstatat(dirfd(dir), names[i], &st, AT_SYMLINK_NOFOLLOW) ==
		    0) {
			list_pack(w, &pk, names[i], &st);
			listed++;
		}
		free(names[i]);
	}
	free(names);
	msgpack_packer_init(&pk, &w->out, msgpack_sbuffer_write);
	msgpack_pack_array(&pk, listed);
	if (entries.size)
		msgpack_sbuffer_write(&w->out, entries.data, entries.size);
	msgpack_sbuffer_destroy(&entries);
}

static void work_list(struct agent_filework *w)
{
	struct agent_path path;
	DIR *dir = NULL;
	int fd;

	if (!work_resolve(w, true, &path))
		return;
	fd = path.exists ? agent_path_open(w->root_fd, path.text,
					   O_RDONLY | O_DIRECTORY, 0)
			 : -path.err;
	if (fd >= 0)
		dir = fdopendir(fd);
	if (!dir) {
		work_fail(w, "open", fd < 0 ? -fd : errno);
		return;
	}
	list_folder(w, dir);
	closedir(dir);
}

static int remove_one(int at, const char *name, bool recursive)
{
	int r;

	if (unlinkat(at, name, 0) == 0)
		return 0;
	if (errno != EISDIR)
		return -errno;
	if (!recursive)
		return unlinkat(at, name, AT_REMOVEDIR) < 0 ? -errno : 0;
	r = agent_tree_remove(at, name);
	return r;
}

static void work_remove(struct agent_filework *w)
{
	struct agent_path path;
	const char *slash;
	int at, r;

	if (!work_resolve(w, true, &path))
		return;
	/* a link that leads nowhere is removed itself */
	if (!path.exists && !work_resolve(w, false, &path))
		return;
	if (!path.exists) {
		if (!w->recursive)
			work_fail(w, "remove", path.err);
		return;
	}
	if (!strcmp(path.text, ".")) {
		snprintf(w->error, sizeof(w->error), "%s",
			 "cannot remove workspace root");
		return;
	}
	slash = strrchr(path.text, '/');
	if (slash)
		path.text[slash - path.text] = 0;
	at = agent_path_open(w->root_fd, slash ? path.text : ".",
			     O_PATH | O_DIRECTORY, 0);
	r = at < 0 ? at
		   : remove_one(at, slash ? slash + 1 : path.text,
				w->recursive);
	if (r < 0)
		work_fail(w, w->recursive ? "unlinkat" : "remove", -r);
	if (at >= 0)
		close(at);
}

void agent_filework_do(struct agent_filework *w)
{
	agent_filework_become(w->agent);
	if (w->type == MSG_FS_READ)
		work_read(w);
	else if (w->type == MSG_FS_WRITE)
		work_write(w);
	else if (w->type == MSG_FS_LIST)
		work_list(w);
	else
		work_remove(w);
	agent_filework_unbecome(w->agent);
}

/* Kinds of file systems by device number: see fstype.h. */
#include "client/helper/fstype.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "client/helper/loop.h"

/* Device numbers are given to other mounts after an unmount. */
#define TRUST_MS 10000

/* not in linux/magic.h of all versions */
#define MAGIC_MQUEUE   0x19800202
#define MAGIC_CIFS     0xff534d42
#define MAGIC_SMB2     0xfe534d42
#define MAGIC_CEPH     0x00c36400
#define MAGIC_LUSTRE   0x0bd00bd0
#define MAGIC_GFS2     0x01161970
#define MAGIC_OCFS2    0x7461636f
#define MAGIC_RESCTRL  0x7655821
#define MAGIC_CONFIGFS 0x62656570
#define MAGIC_FUSECTL  0x65735543
#define MAGIC_RPC_PIPE 0x67596969

static const unsigned long volatile_magic[] = {
	PROC_SUPER_MAGIC,   SYSFS_MAGIC,	 DEVPTS_SUPER_MAGIC,
	CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,
	TRACEFS_MAGIC,	    SECURITYFS_MAGIC,	 SELINUX_MAGIC,
	SMACK_MAGIC,	    BPF_FS_MAGIC,	 EFIVARFS_MAGIC,
	PSTOREFS_MAGIC,	    NSFS_MAGIC,		 BINFMTFS_MAGIC,
	MAGIC_MQUEUE,	    MAGIC_RESCTRL,	 MAGIC_CONFIGFS,
	MAGIC_FUSECTL,	    MAGIC_RPC_PIPE,
};

static const unsigned long shared_magic[] = {
	NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, MAGIC_CIFS,
	MAGIC_SMB2,	 AFS_SUPER_MAGIC, MAGIC_CEPH,
	MAGIC_LUSTRE,	 MAGIC_GFS2,	  MAGIC_OCFS2,
};

static bool is_one_of(unsigned long magic, const unsigned long *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (list[i] == magic)
			return true;
	return false;
}

static enum fstype type_of_magic(unsigned long magic)
{
	if (is_one_of(magic, volatile_magic,
		      sizeof(volatile_magic) / sizeof(*volatile_magic)))
		return FSTYPE_VOLATILE;
	if (is_one_of(magic, shared_magic,
		      sizeof(shared_magic) / sizeof(*shared_magic)))
		return FSTYPE_SHARED;
	return FSTYPE_PLAIN;
}

static bool cache_find(const struct fstypes *f, dev_t dev, enum fstype *ret)
{
	int64_t now = loop_clock_ms();
	int i;

	for (i = 0; i < FSTYPE_CACHE; i++) {
		if (f->cache[i].dev != dev || f->cache[i].until_ms < now)
			continue;
		*ret = f->cache[i].type;
		return true;
	}
	return false;
}

static enum fstype cache_add(struct fstypes *f, dev_t dev, int fd)
{
	unsigned int i = f->next++ % FSTYPE_CACHE;
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return FSTYPE_VOLATILE;
	f->cache[i].dev = dev;
	f->cache[i].type = type_of_magic((unsigned long)fs.f_type & 0xffffffff);
	f->cache[i].until_ms = loop_clock_ms() + TRUST_MS;
	return f->cache[i].type;
}

enum fstype fstype_of_fd(struct fstypes *f, dev_t dev, int fd)
{
	enum fstype type;

	if (cache_find(f, dev, &type))
		return type;
	return cache_add(f, dev, fd);
}

enum fstype fstype_of(struct fstypes *f, dev_t dev, const char *name)
{
	enum fstype type;
	int fd;

	if (cache_find(f, dev, &type))
		return type;
	fd = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return FSTYPE_PLAIN;
	type = cache_add(f, dev, fd);
	close(fd);
	return type;
}

#include "base/file.h"

#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* --- paths --- */

char *file_join(const char *dir, const char *name)
{
	if (!dir[0] || name[0] == '/') {
		return xstrdup(name);
	}
	return xasprintf("%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}

char *file_dirname(const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash) {
		return xstrdup(".");
	}
	return slash == path ? xstrdup("/") : xmemdup0(path, (size_t)(slash - path));
}

const char *file_basename(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

bool file_is_dir(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool sync_dir(const char *dir, struct error *err)
{
	AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0) {
		return error_errno(err, "could not flush folder '%s'", dir);
	}
	return true;
}

/* What is synced in a folder is lost all the same if the folder's own name is. */
static bool make_dir(const char *path, struct error *err)
{
	if (mkdir(path, 0777) < 0) {
		return errno == EEXIST || error_errno(err, "could not make folder '%s'", path);
	}
	AUTO_FREE char *parent = file_dirname(path);
	return sync_dir(parent, err);
}

bool file_make_dirs(const char *path, struct error *err)
{
	AUTO_FREE char *p = xstrdup(path);
	for (char *slash = p + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (!make_dir(p, err)) {
			return false;
		}
		*slash = '/';
	}
	return make_dir(p, err) &&
		(file_is_dir(p) || error_set(err, FAIL_IO, "'%s' is not a folder", p));
}

/* --- durable writing --- */

bool file_draft_open(struct file_draft *draft, const char *dir, const char *name, struct error *err)
{
	*draft = (struct file_draft){.fd = -1};
	draft->dir = xstrdup(dir);
	draft->name = xstrdup(name);
	draft->path = file_join(dir, name);
	AUTO_FREE char *temp_name = xasprintf(
		".tmp-%s~", name); /* no collector takes it for the file by its ending */
	draft->temp_path = file_join(dir, temp_name);
	unlink(draft->temp_path);
	draft->fd = open(draft->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (draft->fd < 0) {
		error_errno(err, "could not create '%s'", draft->temp_path);
		file_draft_release(draft);
		return false;
	}
	return true;
}

bool file_draft_write(struct file_draft *draft, const void *bytes, size_t len, struct error *err)
{
	const char *p = bytes;
	while (len) {
		ssize_t n = write(draft->fd, p, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return error_errno(err, "could not write '%s'", draft->path);
		}
		p += n;
		len -= (size_t)n;
	}
	return true;
}

void file_draft_begin_sync(struct file_draft *draft)
{
	/* A hint: where it does not work, fsync does it all. */
	(void)sync_file_range(draft->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

bool file_draft_publish(struct file_draft *draft, struct error *err)
{
	if (fsync(draft->fd) < 0) {
		return error_errno(err, "could not flush '%s'", draft->path);
	}
	if (close(TAKE_FD(draft->fd)) < 0) {
		return error_errno(err, "could not close '%s'", draft->path);
	}
	if (rename(draft->temp_path, draft->path) < 0) {
		return error_errno(err, "could not rename to '%s'", draft->path);
	}
	free(TAKE(draft->temp_path));
	return sync_dir(draft->dir, err);
}

void file_draft_release(struct file_draft *draft)
{
	if (!draft->dir) {
		return;
	}
	if (draft->fd >= 0) {
		close(draft->fd);
	}
	if (draft->temp_path) {
		unlink(draft->temp_path);
	}
	free(draft->dir);
	free(draft->name);
	free(draft->temp_path);
	free(draft->path);
	*draft = (struct file_draft){.fd = -1};
}

bool file_publish(
	const char *dir, const char *name, const void *bytes, size_t len, struct error *err)
{
	struct file_draft draft;
	if (!file_draft_open(&draft, dir, name, err)) {
		return false;
	}
	bool ok = file_draft_write(&draft, bytes, len, err) && file_draft_publish(&draft, err);
	file_draft_release(&draft);
	return ok;
}

bool file_publish_dir(const char *from, const char *to, struct error *err)
{
	AUTO_FREE char *from_parent = file_dirname(from);
	AUTO_FREE char *to_parent = file_dirname(to);
	if (!sync_dir(from, err)) {
		return false;
	}
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0) {
		return error_errno(err, "could not move '%s' to '%s'", from, to);
	}
	return sync_dir(to_parent, err) && sync_dir(from_parent, err);
}

bool file_remove_drafts(const char *dir, struct error *err)
{
	DIR *d = opendir(dir);
	if (!d) {
		return errno == ENOENT || error_errno(err, "could not list folder '%s'", dir);
	}
	bool ok = true;
	struct dirent *entry;
	while (ok && (entry = readdir(d))) {
		if (strncmp(entry->d_name, ".tmp-", 5) == 0 &&
			unlinkat(dirfd(d), entry->d_name, 0) < 0 && errno != ENOENT &&
			errno != EISDIR) {
			ok = error_errno(err, "could not remove '%s/%s'", dir, entry->d_name);
		}
	}
	closedir(d);
	return ok;
}

static int remove_one(
	const char *path, const struct stat *st UNUSED, int flag UNUSED, struct FTW *ftw UNUSED)
{
	return remove(path);
}

bool file_remove_tree(const char *path, struct error *err)
{
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0) {
		return errno == ENOENT || error_errno(err, "could not remove '%s'", path);
	}
	/* So that the machine's death does not bring it back when nobody looks for it any more. */
	AUTO_FREE char *parent = file_dirname(path);
	return sync_dir(parent, err);
}

/* --- reading --- */

static bool read_all(
	int fd, const char *path, size_t limit_bytes, struct str *out, struct error *err)
{
	size_t before = out->len;
	while (true) {
		char *room = str_reserve(out, 64 << 10);
		if (!room) {
			return error_set(err, FAIL_DATA, "'%s' is too large", path);
		}
		ssize_t n = read(fd, room, 64 << 10);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return error_errno(err, "could not read '%s'", path);
		}
		out->len += (size_t)n;
		out->data[out->len] = '\0';
		if (out->len - before > limit_bytes) {
			return error_set(
				err, FAIL_DATA, "'%s' is larger than %zu bytes", path, limit_bytes);
		}
		if (n == 0) {
			return true;
		}
	}
}

bool file_read(const char *path, size_t limit_bytes, struct str *out, struct error *err)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return error_errno(err, "could not open '%s'", path);
	}
	return read_all(fd, path, limit_bytes, out, err);
}

int file_open_regular(const char *path, uint64_t *out_bytes, struct error *err)
{
	struct stat st;
	/* Without O_NONBLOCK a named pipe would hold us up for ever. */
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		error_errno(err, "could not open '%s'", path);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, FAIL_DATA, "'%s' is not a file", path);
		return -1;
	}
	*out_bytes = (uint64_t)st.st_size;
	return TAKE_FD(fd);
}

bool file_read_regular(const char *path, size_t limit_bytes, struct str *out, struct error *err)
{
	uint64_t bytes;
	AUTO_FD int fd = file_open_regular(path, &bytes, err);
	return fd >= 0 && read_all(fd, path, limit_bytes, out, err);
}

bool file_pread(int fd, const char *path, void *buf, size_t len, uint64_t offset, struct error *err)
{
	char *p = buf;
	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)offset);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return error_errno(err, "could not read '%s'", path);
		}
		if (n == 0) {
			return error_set(err, FAIL_DATA, "'%s' ends before byte %llu", path,
				(unsigned long long)(offset + len));
		}
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return true;
}

bool file_reserve(int fd, const char *path, uint64_t bytes, struct error *err)
{
	int rc;
	do {
		rc = posix_fallocate(fd, 0, (off_t)bytes);
	} while (rc == EINTR);
	errno = rc;
	return !rc ||
		error_errno(err, "could not make room for %llu bytes in '%s'",
			(unsigned long long)bytes, path);
}

/* --- locks and file systems --- */

static bool pwrite_all(int fd, const char *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, bytes + done, len - done, (off_t)done);
		if (n < 0 && errno != EINTR) {
			return false;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

bool file_lock_take(struct file_lock *lock, const char *path, struct error *err)
{
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0) {
		return error_errno(err, "could not open lock '%s'", path);
	}
	char pid[32] = "";
	/* A second try, as file_lock_holder may have it for an instant. */
	const struct timespec instant = {.tv_nsec = 20000000};
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 &&
		(nanosleep(&instant, NULL), flock(fd, LOCK_EX | LOCK_NB)) < 0) {
		if (errno != EWOULDBLOCK) {
			return error_errno(err, "could not lock '%s'", path);
		}
		ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
		error_set(err, FAIL_IO, "another thresh (pid %s) is at work in '%.*s'",
			pid[0] ? pid : "unknown", (int)(file_basename(path) - path), path);
		return error_hint(err,
			"wait for it, or stop it: kill -TERM %s lets it finish cleanly",
			pid[0] ? pid : "PID");
	}
	int len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || !pwrite_all(fd, pid, (size_t)len)) {
		return error_errno(err, "could not write lock '%s'", path);
	}
	lock->fd = TAKE_FD(fd);
	return true;
}

void file_lock_release(struct file_lock *lock)
{
	if (lock->fd >= 0) {
		close(lock->fd);
	}
	lock->fd = -1;
}

long file_lock_holder(const char *path)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	char pid[32] = "";
	/* Taken shared for a moment; file_lock_take tries twice for that reason. */
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 ||
		pread(fd, pid, sizeof(pid) - 1, 0) <= 0) {
		return 0;
	}
	return strtol(pid, NULL, 10);
}

int64_t file_changed_ms(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		return -1;
	}
	return (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
}

const char *file_unsafe_fs(const char *path)
{
	/* Magic numbers from statfs(2); shared memory mappings of the WAL index do not work over these. */
	static const struct {
		unsigned long magic;
		const char *name;
	} unsafe[] = {{0x6969, "nfs"}, {0x0bd00bd0, "lustre"}, {0x517b, "smb"},
		{0xfe534d42, "smb2"}, {0xff534d42, "cifs"}, {0x47504653, "gpfs"},
		{0x00c36400, "ceph"}, {0x19830326, "beegfs"}, {0x564c, "ncp"}, {0x5346414f, "afs"}};
	const char *simulated = getenv("THRESH_TEST_FS");
	struct statfs fs;
	bool known = statfs(path, &fs) == 0;
	for (size_t i = 0; i < ARRAY_LEN(unsafe); i++) {
		if ((simulated && strcmp(simulated, unsafe[i].name) == 0) ||
			(known && (unsigned long)fs.f_type == unsafe[i].magic)) {
			return unsafe[i].name;
		}
	}
	return NULL;
}

/*
 * Counts the system calls by which a process changes files below a directory, and lets one of them go wrong.
 *
 * Loaded with LD_PRELOAD into the program under test alone: it takes itself out of the environment, so that
 * no child inherits it. It must never change a call that is not the chosen one.
 *
 *   CRASH_ROOT    only calls on paths below it count
 *   CRASH_LOG     one line per call that counts: number, name, path
 *   CRASH_AT      number of the chosen call; 0 for none
 *   CRASH_ACTION  kill: SIGKILL instead of the call; torn: half of a write, then SIGKILL;
 *                 once:ERRNO: the call fails; from:ERRNO: it and all later ones that need space fail
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NONE, KILL, TORN, ONCE, FROM };

static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static int chosen;
static enum action action;
static int error_number;
static atomic_int counted;

static int errno_named(const char *name)
{
	if (strcmp(name, "ENOSPC") == 0)
		return ENOSPC;
	if (strcmp(name, "EIO") == 0)
		return EIO;
	abort();
}

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("CRASH_AT"), *how = getenv("CRASH_ACTION"), *log = getenv("CRASH_LOG");
	const char *directory = getenv("CRASH_ROOT");

	unsetenv("LD_PRELOAD");
	if (directory == NULL)
		return;
	root_length = strlen(directory);
	if (root_length >= sizeof root)
		abort();
	memcpy(root, directory, root_length + 1);
	if (log != NULL)
		log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	chosen = at == NULL ? 0 : atoi(at);
	if (how == NULL || chosen == 0)
		return;
	if (strcmp(how, "kill") == 0)
		action = KILL;
	else if (strcmp(how, "torn") == 0)
		action = TORN;
	else if (strncmp(how, "once:", 5) == 0 || strncmp(how, "from:", 5) == 0) {
		action = how[0] == 'o' ? ONCE : FROM;
		error_number = errno_named(how + 5);
	} else
		abort();
}

static int below_root(const char *path)
{
	return root_length > 0 && path != NULL && strncmp(path, root, root_length) == 0 &&
	       path[root_length] == '/';
}

/* -1: let it fail; 1: write half and die; 0: go on. */
static int meet(const char *name, const char *path, int needs_space)
{
	int number, saved = errno;

	if (!below_root(path))
		return 0;
	number = atomic_fetch_add(&counted, 1) + 1;
	if (log_fd >= 0)
		dprintf(log_fd, "%d %s %s\n", number, name, path + root_length);
	errno = saved;
	if (action == KILL && number == chosen)
		kill(getpid(), SIGKILL);
	if (action == TORN && number == chosen)
		return 1;
	if ((action == ONCE && number == chosen) || (action == FROM && number >= chosen && needs_space)) {
		errno = error_number;
		return -1;
	}
	return 0;
}

static int meet_fd(const char *name, int fd, int needs_space)
{
	char link[64], path[PATH_MAX];
	ssize_t length;
	int saved = errno;

	if (root_length == 0 || fd == log_fd)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	errno = saved;
	if (length <= 0)
		return 0;
	path[length] = '\0';
	return meet(name, path, needs_space);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void die(void)
{
	kill(getpid(), SIGKILL);
}

#define BY_PATH(name, parameters, arguments, path, needs_space)                                    \
	int name parameters                                                                        \
	{                                                                                          \
		int verdict = meet(#name, path, needs_space);                                      \
		if (verdict != 0) {                                                                \
			if (verdict > 0)                                                           \
				die();                                                             \
			return -1;                                                                 \
		}                                                                                  \
		return REAL(name) arguments;                                                       \
	}

BY_PATH(mkdir, (const char *path, mode_t mode), (path, mode), path, 1)
BY_PATH(rename, (const char *from, const char *to), (from, to), to, 1)
BY_PATH(link, (const char *from, const char *to), (from, to), to, 1)
BY_PATH(symlink, (const char *target, const char *path), (target, path), path, 1)
BY_PATH(unlink, (const char *path), (path), path, 0)
BY_PATH(rmdir, (const char *path), (path), path, 0)
BY_PATH(chmod, (const char *path, mode_t mode), (path, mode), path, 0)
BY_PATH(chown, (const char *path, uid_t uid, gid_t gid), (path, uid, gid), path, 0)
BY_PATH(lchown, (const char *path, uid_t uid, gid_t gid), (path, uid, gid), path, 0)

#define BY_FD(name, parameters, arguments, needs_space)                                            \
	int name parameters                                                                        \
	{                                                                                          \
		int verdict = meet_fd(#name, fd, needs_space);                                     \
		if (verdict != 0) {                                                                \
			if (verdict > 0)                                                           \
				die();                                                             \
			return -1;                                                                 \
		}                                                                                  \
		return REAL(name) arguments;                                                       \
	}

BY_FD(fsync, (int fd), (fd), 1)
BY_FD(fdatasync, (int fd), (fd), 1)
BY_FD(fchmod, (int fd, mode_t mode), (fd, mode), 0)
BY_FD(fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), 0)
BY_FD(ftruncate64, (int fd, off64_t length), (fd, length), 0)

ssize_t write(int fd, const void *bytes, size_t size)
{
	int verdict = meet_fd("write", fd, 1);

	if (verdict < 0)
		return -1;
	if (verdict > 0) {
		(void)!REAL(write)(fd, bytes, size / 2);
		die();
	}
	return REAL(write)(fd, bytes, size);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
	int verdict = meet_fd("pwrite", fd, 1);

	if (verdict < 0)
		return -1;
	if (verdict > 0) {
		(void)!REAL(pwrite64)(fd, bytes, size / 2, offset);
		die();
	}
	return REAL(pwrite64)(fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	int verdict = meet_fd("writev", fd, 1);

	if (verdict < 0)
		return -1;
	if (verdict > 0) {
		if (count > 0)
			(void)!REAL(write)(fd, parts[0].iov_base, parts[0].iov_len / 2);
		die();
	}
	return REAL(writev)(fd, parts, count);
}

/* Opening counts only where it makes or empties a file. */
static int meet_open(const char *path, int flags)
{
	int verdict = (flags & (O_CREAT | O_TRUNC)) != 0 ? meet("open", path, 1) : 0;

	if (verdict > 0)
		die();
	return verdict;
}

static mode_t mode_of(int flags, va_list arguments)
{
	return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	return meet_open(path, flags) < 0 ? -1 : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	return meet_open(path, flags) < 0 ? -1 : REAL(open64)(path, flags, mode);
}

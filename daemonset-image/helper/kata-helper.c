/*
 * kata-helper does what Node.js cannot, and nothing else: wait as PID 1, compare a fingerprint of
 * files, ask KVM, hold file locks, flush a file system, give a new file the extended attributes of the
 * one that it will replace, run a binary of the host in the host's root, name the kernel.
 *
 * It is static, its memory does not grow and it reads no configuration: the resident container runs
 * it and must stay under 1 MiB. It must never write into a file of the host.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { EXIT_DIFFERENT = 1, EXIT_USAGE = 2, EXIT_BUSY = 3, EXIT_NOT_RUN = 126, EXIT_NOT_FOUND = 127 };
enum { KVM_EXPECTED_API = 12, LINE_SIZE = 8192, PATH_SIZE = 8192 };

/* From the kernel's stable interface; not every libc comes with its headers. */
#define KVM_GET_API_VERSION _IO(0xAE, 0x00)
#define KVM_CREATE_VM _IO(0xAE, 0x01)

static int usage(void) {
    fputs("usage: kata-helper pause\n"
          "       kata-helper probe FINGERPRINT_FILE ROOT\n"
          "       kata-helper kvm [DEVICE]\n"
          "       kata-helper lock FILE...\n"
          "       kata-helper syncfs DIRECTORY\n"
          "       kata-helper copyxattr FROM TO\n"
          "       kata-helper chroot ROOT COMMAND [ARGUMENT]...\n"
          "       kata-helper uname\n",
          stderr);
    return EXIT_USAGE;
}

/* pause: PID 1 of the resident container. Its own children are none, but as PID 1 it inherits. */

static int wait_for_end(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0) return EXIT_FAILURE;
    for (;;) {
        int received = 0;
        if (sigwait(&signals, &received) != 0) return EXIT_FAILURE;
        if (received != SIGCHLD) return EXIT_SUCCESS;
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
}

/* probe: are the files still the ones that were installed? */

struct fingerprint {
    int64_t size_bytes;
    int64_t mtime_ns;
    uint64_t inode;
    const char *host_path;
};

/* Reads `size<TAB>mtime_ns<TAB>inode<TAB>/host/path`; the line is cut where the path ends. */
static bool parse_fingerprint(char *line, struct fingerprint *wanted) {
    char *rest = line;
    errno = 0;
    wanted->size_bytes = strtoll(rest, &rest, 10);
    if (*rest++ != '\t') return false;
    wanted->mtime_ns = strtoll(rest, &rest, 10);
    if (*rest++ != '\t') return false;
    wanted->inode = strtoull(rest, &rest, 10);
    if (*rest++ != '\t') return false;
    rest[strcspn(rest, "\n")] = '\0';
    wanted->host_path = rest;
    return errno == 0 && *rest == '/';
}

static bool is_unchanged(const struct fingerprint *wanted, const char *root) {
    char path[PATH_SIZE];
    const int length = snprintf(path, sizeof path, "%s%s", root, wanted->host_path);
    if (length < 0 || (size_t)length >= sizeof path) {
        printf("%s: path too long\n", wanted->host_path);
        return false;
    }
    struct stat found;
    if (lstat(path, &found) != 0) {
        printf("%s: %s\n", wanted->host_path, strerror(errno));
        return false;
    }
    const int64_t mtime_ns = (int64_t)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec;
    const char *difference = found.st_size != wanted->size_bytes ? "size"
                             : mtime_ns != wanted->mtime_ns      ? "modification time"
                             : found.st_ino != wanted->inode     ? "inode"
                                                                 : NULL;
    if (difference == NULL) return true;
    printf("%s: %s differs\n", wanted->host_path, difference);
    return false;
}

/* The line ends with its newline or with the file; without either it did not fit. */
static bool is_whole_line(const char *line, FILE *file) {
    return strchr(line, '\n') != NULL || feof(file) != 0;
}

static int compare_lines(FILE *file, const char *root) {
    char line[LINE_SIZE];
    unsigned long number = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        struct fingerprint wanted;
        number++;
        if (!is_whole_line(line, file) || !parse_fingerprint(line, &wanted)) {
            printf("line %lu of the fingerprint is not one\n", number);
            return EXIT_DIFFERENT;
        }
        if (!is_unchanged(&wanted, root)) return EXIT_DIFFERENT;
    }
    if (ferror(file) != 0) {
        printf("the fingerprint cannot be read: %s\n", strerror(errno));
        return EXIT_DIFFERENT;
    }
    /* A fingerprint of nothing proves nothing. */
    if (number == 0) puts("the fingerprint is empty");
    return number == 0 ? EXIT_DIFFERENT : EXIT_SUCCESS;
}

static int probe(const char *fingerprint_path, const char *root) {
    static char buffer[4096];
    FILE *file = fopen(fingerprint_path, "re");
    if (file == NULL) {
        printf("%s: %s\n", fingerprint_path, strerror(errno));
        return EXIT_DIFFERENT;
    }
    setvbuf(file, buffer, _IOFBF, sizeof buffer);
    /* Host paths begin with a slash: a root of `/` adds nothing to them. */
    const int status = compare_lines(file, strcmp(root, "/") == 0 ? "" : root);
    fclose(file);
    return status;
}

/* kvm: the ioctls, since a device node alone says nothing. */

static void print_json_string(const char *text) {
    putchar('"');
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at < 0x20) {
            printf("\\u%04x", *at);
        } else {
            if (*at == '"' || *at == '\\') putchar('\\');
            putchar(*at);
        }
    }
    putchar('"');
}

static void print_unusable(const char *action, const char *device, const char *problem) {
    char cause[PATH_SIZE];
    snprintf(cause, sizeof cause, "%s %s: %s", action, device, problem);
    fputs("{\"usable\":false,\"cause\":", stdout);
    print_json_string(cause);
    puts("}");
}

static void ask_kvm(int kvm, const char *device) {
    const int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
    if (version < 0) {
        print_unusable("KVM_GET_API_VERSION on", device, strerror(errno));
        return;
    }
    if (version != KVM_EXPECTED_API) {
        char problem[64];
        snprintf(problem, sizeof problem, "API version %d, %d is needed", version, KVM_EXPECTED_API);
        print_unusable("KVM_GET_API_VERSION on", device, problem);
        return;
    }
    const int machine = ioctl(kvm, KVM_CREATE_VM, 0);
    if (machine < 0) {
        print_unusable("KVM_CREATE_VM on", device, strerror(errno));
        return;
    }
    close(machine);
    printf("{\"usable\":true,\"apiVersion\":%d}\n", version);
}

static int kvm(const char *device) {
    const int descriptor = open(device, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
        print_unusable("open", device, strerror(errno));
        return EXIT_SUCCESS;
    }
    ask_kvm(descriptor, device);
    close(descriptor);
    return EXIT_SUCCESS;
}

/* lock: holds the locks until its standard input ends, so they end with whoever asked for them. */

static void wait_for_end_of_input(void) {
    char discarded[256];
    for (;;) {
        const ssize_t count = read(STDIN_FILENO, discarded, sizeof discarded);
        if (count == 0 || (count < 0 && errno != EINTR)) return;
    }
}

static int lock(char *const *paths) {
    for (char *const *path = paths; *path != NULL; path++) {
        const int descriptor = open(*path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (descriptor < 0) {
            fprintf(stderr, "%s: %s\n", *path, strerror(errno));
            return EXIT_FAILURE;
        }
        if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) continue;
        if (errno != EWOULDBLOCK) {
            fprintf(stderr, "%s: %s\n", *path, strerror(errno));
            return EXIT_FAILURE;
        }
        printf("busy %s\n", *path);
        return EXIT_BUSY;
    }
    puts("locked");
    fflush(stdout);
    wait_for_end_of_input();
    return EXIT_SUCCESS;
}

/* syncfs: one flush for thousands of files, where fsync would commit the journal for each. */

static int flush_file_system(const char *directory) {
    const int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 || syncfs(descriptor) != 0) {
        fprintf(stderr, "syncfs %s: %s\n", directory, strerror(errno));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* copyxattr: SELinux label, access lists and the like. */

enum { NAMES_SIZE = 65536, VALUE_SIZE = 65536 }; /* The kernel's own limits: XATTR_LIST_MAX, XATTR_SIZE_MAX. */

static const char *const ACCESS_LIST = "system.posix_acl_access";

/* A hash or signature of the content belongs to the old content. */
static bool belongs_to_content(const char *name) {
    return strcmp(name, "security.ima") == 0 || strcmp(name, "security.evm") == 0;
}

/* A label that the new file has by itself is not set: not everybody may set it. */
static bool copy_attribute(const char *from, const char *to, const char *name) {
    static char value[VALUE_SIZE];
    static char present[VALUE_SIZE];
    const ssize_t size = lgetxattr(from, name, value, sizeof value);
    if (size < 0) return errno == ENODATA;
    const ssize_t present_size = lgetxattr(to, name, present, sizeof present);
    if (present_size == size && memcmp(value, present, (size_t)size) == 0) return true;
    return lsetxattr(to, name, value, (size_t)size, 0) == 0;
}

static int copy_attributes(const char *from, const char *to) {
    static char names[NAMES_SIZE];
    const ssize_t size = llistxattr(from, names, sizeof names);
    if (size < 0) {
        if (errno == ENOTSUP) return EXIT_SUCCESS;
        fprintf(stderr, "%s: %s\n", from, strerror(errno));
        return EXIT_FAILURE;
    }
    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        if (belongs_to_content(name) || copy_attribute(from, to, name)) continue;
        fprintf(stderr, "extended attribute %s: %s\n", name, strerror(errno));
        return EXIT_FAILURE;
    }
    /* A new file inherits the default access list of its directory. */
    if (lgetxattr(from, ACCESS_LIST, NULL, 0) < 0 && errno == ENODATA) lremovexattr(to, ACCESS_LIST);
    return EXIT_SUCCESS;
}

/* chroot: becomes a command of the host. As with env(1), 126 and 127 say that it was not run. */

static int run_in_root(const char *root, char *const *command) {
    if (chroot(root) != 0 || chdir("/") != 0) {
        fprintf(stderr, "chroot %s: %s\n", root, strerror(errno));
        return EXIT_NOT_RUN;
    }
    execvp(command[0], command);
    const int status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN;
    fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
    return status;
}

static int print_kernel_release(void) {
    struct utsname kernel;
    if (uname(&kernel) != 0) return EXIT_FAILURE;
    puts(kernel.release);
    return EXIT_SUCCESS;
}

int main(int count, char **arguments) {
    if (count < 2) return usage();
    const char *command = arguments[1];
    if (strcmp(command, "pause") == 0 && count == 2) return wait_for_end();
    if (strcmp(command, "probe") == 0 && count == 4) return probe(arguments[2], arguments[3]);
    if (strcmp(command, "kvm") == 0 && count <= 3) return kvm(count == 3 ? arguments[2] : "/dev/kvm");
    if (strcmp(command, "lock") == 0 && count >= 3) return lock(arguments + 2);
    if (strcmp(command, "syncfs") == 0 && count == 3) return flush_file_system(arguments[2]);
    if (strcmp(command, "copyxattr") == 0 && count == 4) return copy_attributes(arguments[2], arguments[3]);
    if (strcmp(command, "chroot") == 0 && count >= 4) return run_in_root(arguments[2], arguments + 3);
    if (strcmp(command, "uname") == 0 && count == 2) return print_kernel_release();
    return usage();
}

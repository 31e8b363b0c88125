/*
 * A disk that fails on request: preloaded, it stands between a process and the calls of libc that change a directory.
 *
 * Nothing happens until a process arms it for one root. From then on every call that changes something beneath the root
 * is counted, and the k-th may kill the process, fail, or be cut short; with a log, all of them are written down.
 * What it cannot see: writes through mmap, io_uring, bare system calls, and what libc does inside stdio.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum { WRITE = 1, SYNC = 2, RENAME = 4, LINK = 8, UNLINK = 16, CREATE = 32, TRUNCATE = 64 };
enum { NOTHING, KILL_BEFORE, KILL_AFTER, FAIL, SHORT };

#define RING 48
#define LINE 160

/* Shared with the processes that are forked later, so that what a killed one did can still be read. */
struct board {
    uint64_t count;    /* calls counted */
    uint64_t fired;    /* the first of them that was faulted, 0 for none */
    uint64_t fired_ns; /* when, by CLOCK_MONOTONIC */
    char ring[RING][LINE];
};

static struct board *board;
static char root[PATH_MAX];
static size_t root_length;
static volatile int armed;
static int kind, persistent, error_code, plays_sync;
static unsigned classes;
static uint64_t target;
static int log_fd = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

__attribute__((constructor)) static void begin(void) {
    void *page = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    board = page == MAP_FAILED ? NULL : page;
}

API struct board *archetype_fault_board(void) { return board; }

API void archetype_fault_reset(void) { memset(board, 0, sizeof *board); }

/* Begin to count beneath a directory; fault the k-th call of these classes, or with `on` all from the k-th. 0 is never.
 * With `play` a sync is counted and reports success without reaching the disk: a killed process loses no page. */
API int archetype_fault_arm(const char *path, int what, uint64_t k, unsigned which, int on, int code, int play) {
    armed = 0;
    if (!board || !realpath(path, root)) return -1;
    root_length = strlen(root);
    kind = what, target = k, classes = which, persistent = on, error_code = code, plays_sync = play;
    __sync_synchronize();
    armed = 1;
    return 0;
}

API void archetype_fault_disarm(void) { armed = 0; }

/* Write every counted call to a log, which lies outside of the root. */
API int archetype_fault_trace(const char *path) {
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return log_fd < 0 ? -1 : 0;
}

/* Let the process end with the one that forked it. */
API void archetype_fault_follow_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

struct __attribute__((packed)) record {
    char kind;
    uint64_t inode;
    int64_t offset;
    uint64_t size;
    uint64_t ns;
    uint32_t path, other;
};

static void put(const void *data, size_t size) {
    const char *next = data;
    while (size) {
        ssize_t done = syscall(SYS_write, log_fd, next, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) abort(); /* a log with a gap would accuse the store */
        next += done, size -= (size_t)done;
    }
}

static void note(char what, uint64_t inode, int64_t offset, const char *path, const char *other,
                 const struct iovec *data, uint64_t size) {
    if (log_fd < 0) return;
    struct record record = {what, inode, offset, size, now_ns(), (uint32_t)strlen(path), (uint32_t)strlen(other)};
    put(&record, sizeof record);
    put(path, record.path);
    put(other, record.other);
    for (uint64_t left = size; data && left; data++) {
        size_t part = data->iov_len < left ? data->iov_len : (size_t)left;
        put(data->iov_base, part);
        left -= part;
    }
}

/* Put a line of the caller's into the log, between the calls before it and those after. */
API void archetype_fault_mark(const char *text) {
    pthread_mutex_lock(&order);
    note('M', 0, 0, text, "", NULL, 0);
    pthread_mutex_unlock(&order);
}

/* One counted call. `verdict` is what to do instead of it; a log keeps calls in order by holding the lock across. */
struct call {
    int counted, verdict, locked;
    char path[PATH_MAX], other[PATH_MAX];
};

static int beneath(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Looked up every time: a table by descriptor would go stale where libc closes one by itself. */
static int path_of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return 1;
}

static int path_at(int directory, const char *given, char *path) {
    char joined[PATH_MAX * 2], parent[PATH_MAX];
    size_t length;
    if (!given) return 0;
    if (given[0] == '/') snprintf(joined, sizeof joined, "%s", given);
    else {
        if (directory == AT_FDCWD ? !getcwd(parent, sizeof parent) : !path_of_fd(directory, parent)) return 0;
        snprintf(joined, sizeof joined, "%s/%s", parent, given);
    }
    for (length = strlen(joined); length > 1 && joined[length - 1] == '/'; length--) joined[length - 1] = 0;
    char *slash = strrchr(joined, '/');
    if (!slash) return 0;
    char *name = slash + 1;
    if (!strcmp(name, "..") || !strcmp(name, ".")) return realpath(joined, path) != NULL;
    *slash = 0;
    if (!realpath(slash == joined ? "/" : joined, parent)) return 0;
    return snprintf(path, PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "", name) < PATH_MAX;
}

static void die(void) {
    board->fired_ns = now_ns();
    for (;;) syscall(SYS_kill, getpid(), SIGKILL);
}

static void count(struct call *call, unsigned class, const char *name, uint64_t size) {
    call->counted = 1;
    if (log_fd >= 0) {
        pthread_mutex_lock(&order);
        call->locked = 1;
    }
    if (!(classes & class)) return;
    uint64_t number = __sync_add_and_fetch(&board->count, 1);
    const char *path = strlen(call->path) > root_length ? call->path + root_length + 1 : ".";
    const char *other = call->other[0] && strlen(call->other) > root_length ? call->other + root_length + 1 : "";
    int hit = target && (persistent ? number >= target : number == target);
    snprintf(board->ring[number % RING], LINE, "%llu %s %.60s %.60s %llu%s", (unsigned long long)number, name, path, other,
             (unsigned long long)size, hit ? "  <- fault" : "");
    if (!hit) return;
    if (kind == KILL_BEFORE) {
        board->fired = number;
        die();
    }
    call->verdict = kind;
    /* A disk that fills up takes a part of one write, and nothing after. */
    if (kind == SHORT && (class != WRITE || size < 2 || number > target)) call->verdict = number > target ? FAIL : NOTHING;
    if (call->verdict != NOTHING && !board->fired) {
        board->fired = number;
        board->fired_ns = now_ns();
    }
}

static void enter_fd(struct call *call, int fd, unsigned class, const char *name, uint64_t size) {
    int before = errno;
    call->counted = call->verdict = call->locked = 0;
    call->other[0] = 0;
    if (armed && path_of_fd(fd, call->path) && beneath(call->path)) count(call, class, name, size);
    errno = before;
}

static void enter_path(struct call *call, int at, const char *path, int other_at, const char *other, unsigned class,
                       const char *name) {
    int before = errno;
    call->counted = call->verdict = call->locked = 0;
    call->other[0] = 0;
    if (armed && path_at(at, path, call->path)) {
        int inside = beneath(call->path);
        if (other && path_at(other_at, other, call->other)) inside |= beneath(call->other);
        if (inside) count(call, class, name, 0);
    }
    errno = before;
}

static void leave(struct call *call) {
    if (call->counted && call->verdict == KILL_AFTER) die();
    if (call->locked) pthread_mutex_unlock(&order);
}

static int is_failed(const struct call *call) { return call->counted && call->verdict == FAIL; }

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static uint64_t inode_at(const char *path, int *is_directory) {
    struct stat found;
    if (lstat(path, &found)) return 0;
    if (is_directory) *is_directory = S_ISDIR(found.st_mode);
    return found.st_ino;
}

static int64_t size_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? -1 : found.st_size;
}

static size_t total(const struct iovec *parts, int count_) {
    size_t size = 0;
    for (int index = 0; index < count_; index++) size += parts[index].iov_len;
    return size;
}

/* Note what was written; `offset` -1 is where the descriptor stands now, less what was written. */
static void wrote(struct call *call, int fd, const struct iovec *parts, ssize_t done, off_t offset) {
    if (!call->counted || done <= 0 || log_fd < 0) return;
    int before = errno;
    if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - done;
    note('W', inode_of(fd), offset, call->path, "", parts, (uint64_t)done);
    if (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) note('S', inode_of(fd), 0, call->path, "", NULL, 0);
    errno = before;
}

/* Writes. A short one hands over half, as a full disk or a signal does. */

#define WRITING(name, size, whole, half, parts, done_offset) \
    struct call call; \
    ssize_t done; \
    enter_fd(&call, fd, WRITE, name, size); \
    if (is_failed(&call)) { \
        errno = error_code; \
        done = -1; \
    } else if (call.counted && call.verdict == SHORT) { \
        done = half; \
    } else { \
        done = whole; \
    } \
    wrote(&call, fd, parts, done, done_offset); \
    leave(&call); \
    return done

API ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (!armed) return real(fd, data, size);
    struct iovec part = {(void *)data, size};
    WRITING("write", size, real(fd, data, size), real(fd, data, size / 2), &part, -1);
}

API ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    if (!armed) return real(fd, data, size, offset);
    struct iovec part = {(void *)data, size};
    WRITING("pwrite", size, real(fd, data, size, offset), real(fd, data, size / 2, offset), &part, offset);
}

API ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    if (!armed) return real(fd, data, size, offset);
    struct iovec part = {(void *)data, size};
    WRITING("pwrite", size, real(fd, data, size, offset), real(fd, data, size / 2, offset), &part, offset);
}

static ssize_t half_of(int fd, const struct iovec *parts, int count_, off_t offset) {
    /* The first piece that holds anything, and only half of it. */
    for (; count_ > 1 && !parts->iov_len; parts++, count_--) {}
    struct iovec part = {parts->iov_base, (parts->iov_len + 1) / 2};
    return offset < 0 ? syscall(SYS_writev, fd, &part, 1) : syscall(SYS_pwritev, fd, &part, 1, offset, 0);
}

API ssize_t writev(int fd, const struct iovec *parts, int count_) {
    REAL(writev);
    if (!armed) return real(fd, parts, count_);
    WRITING("writev", total(parts, count_), real(fd, parts, count_), half_of(fd, parts, count_, -1), parts, -1);
}

API ssize_t pwritev(int fd, const struct iovec *parts, int count_, off_t offset) {
    REAL(pwritev);
    if (!armed) return real(fd, parts, count_, offset);
    WRITING("pwritev", total(parts, count_), real(fd, parts, count_, offset), half_of(fd, parts, count_, offset), parts,
            offset);
}

API ssize_t pwritev64(int fd, const struct iovec *parts, int count_, off64_t offset) {
    REAL(pwritev64);
    if (!armed) return real(fd, parts, count_, offset);
    WRITING("pwritev", total(parts, count_), real(fd, parts, count_, offset), half_of(fd, parts, count_, offset), parts,
            offset);
}

/* Copies inside the kernel show nothing to a log, so an armed process is told to copy by hand, as old kernels do. */

API ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size, unsigned flags) {
    REAL(copy_file_range);
    char path[PATH_MAX];
    if (armed && path_of_fd(out, path) && beneath(path)) {
        errno = ENOSYS;
        return -1;
    }
    return real(in, in_offset, out, out_offset, size, flags);
}

API ssize_t sendfile(int out, int in, off_t *offset, size_t size) {
    REAL(sendfile);
    char path[PATH_MAX];
    if (armed && path_of_fd(out, path) && beneath(path)) {
        errno = ENOSYS;
        return -1;
    }
    return real(out, in, offset, size);
}

API ssize_t sendfile64(int out, int in, off64_t *offset, size_t size) {
    REAL(sendfile64);
    char path[PATH_MAX];
    if (armed && path_of_fd(out, path) && beneath(path)) {
        errno = ENOSYS;
        return -1;
    }
    return real(out, in, offset, size);
}

/* Syncs. A failed one is noted too: what it was to save is clean in memory and absent on disk from then on. */

static void synced(struct call *call, int fd, int result) {
    if (!call->counted || log_fd < 0) return;
    int before = errno;
    struct stat found;
    if (!fstat(fd, &found))
        note(result ? 'F' : S_ISDIR(found.st_mode) ? 'Y' : 'S', found.st_ino, 0, call->path, "", NULL, 0);
    errno = before;
}

#define SYNCING(name, act) \
    struct call call; \
    int result; \
    enter_fd(&call, fd, SYNC, name, 0); \
    if (is_failed(&call)) { \
        errno = error_code; \
        result = -1; \
    } else { \
        result = call.counted && plays_sync ? 0 : act; \
    } \
    synced(&call, fd, result); \
    leave(&call); \
    return result

API int fsync(int fd) {
    REAL(fsync);
    if (!armed) return real(fd);
    SYNCING("fsync", real(fd));
}

API int fdatasync(int fd) {
    REAL(fdatasync);
    if (!armed) return real(fd);
    SYNCING("fdatasync", real(fd));
}

API int syncfs(int fd) {
    REAL(syncfs);
    if (!armed) return real(fd);
    SYNCING("syncfs", real(fd));
}

/* It may start writing; it promises nothing that would outlive a power cut, so no log has it. */
API int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags) {
    REAL(sync_file_range);
    if (!armed) return real(fd, offset, size, flags);
    struct call call;
    enter_fd(&call, fd, SYNC, "sync_file_range", (uint64_t)size);
    int result = is_failed(&call) ? (errno = error_code, -1) : real(fd, offset, size, flags);
    leave(&call);
    return result;
}

/* Opening to write, and creating. */

static int opening(int at, const char *path, int flags, mode_t mode) {
    struct call call;
    int changes = (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY;
    if (!armed || !changes) return (int)syscall(SYS_openat, at, path, flags, mode);
    enter_path(&call, at, path, 0, NULL, CREATE, "open");
    if (!call.counted) return (int)syscall(SYS_openat, at, path, flags, mode);
    uint64_t existed = inode_at(call.path, NULL);
    int fd = is_failed(&call) ? (errno = error_code, -1) : (int)syscall(SYS_openat, at, path, flags, mode);
    int before = errno;
    if (fd >= 0 && (flags & O_TMPFILE) != O_TMPFILE) {
        if (!existed) note('C', inode_of(fd), 0, call.path, "", NULL, 0);
        else if (flags & O_TRUNC) note('T', inode_of(fd), 0, call.path, "", NULL, 0);
    }
    leave(&call);
    errno = before;
    return fd;
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = (mode_t)va_arg(rest, int); \
        va_end(rest); \
    }

API int open(const char *path, int flags, ...) {
    MODE;
    return opening(AT_FDCWD, path, flags, mode);
}

API int open64(const char *path, int flags, ...) {
    MODE;
    return opening(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

API int openat(int at, const char *path, int flags, ...) {
    MODE;
    return opening(at, path, flags, mode);
}

API int openat64(int at, const char *path, int flags, ...) {
    MODE;
    return opening(at, path, flags | O_LARGEFILE, mode);
}

/* What programs built with _FORTIFY_SOURCE call instead. */
API int __open_2(const char *path, int flags) { return opening(AT_FDCWD, path, flags, 0); }
API int __open64_2(const char *path, int flags) { return opening(AT_FDCWD, path, flags | O_LARGEFILE, 0); }
API int __openat_2(int at, const char *path, int flags) { return opening(at, path, flags, 0); }
API int __openat64_2(int at, const char *path, int flags) { return opening(at, path, flags | O_LARGEFILE, 0); }

API int creat(const char *path, mode_t mode) {
    return opening(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

API int creat64(const char *path, mode_t mode) {
    return opening(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_LARGEFILE, mode);
}

API int mkdirat(int at, const char *path, mode_t mode) {
    struct call call;
    enter_path(&call, at, path, 0, NULL, CREATE, "mkdir");
    int result = is_failed(&call) ? (errno = error_code, -1) : (int)syscall(SYS_mkdirat, at, path, mode);
    int before = errno;
    if (call.counted && !result) note('D', inode_at(call.path, NULL), 0, call.path, "", NULL, 0);
    leave(&call);
    errno = before;
    return result;
}

API int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* Names. */

API int renameat2(int at, const char *path, int other_at, const char *other, unsigned flags) {
    struct call call;
    enter_path(&call, at, path, other_at, other, RENAME, "rename");
    int result = is_failed(&call) ? (errno = error_code, -1)
                                  : (int)syscall(SYS_renameat2, at, path, other_at, other, flags);
    int before = errno;
    if (call.counted && !result) note('R', inode_at(call.other, NULL), 0, call.path, call.other, NULL, 0);
    leave(&call);
    errno = before;
    return result;
}

API int renameat(int at, const char *path, int other_at, const char *other) {
    return renameat2(at, path, other_at, other, 0);
}

API int rename(const char *path, const char *other) { return renameat2(AT_FDCWD, path, AT_FDCWD, other, 0); }

API int linkat(int at, const char *path, int other_at, const char *other, int flags) {
    struct call call;
    enter_path(&call, at, path, other_at, other, LINK, "link");
    int result = is_failed(&call) ? (errno = error_code, -1)
                                  : (int)syscall(SYS_linkat, at, path, other_at, other, flags);
    int before = errno;
    if (call.counted && !result) note('L', inode_at(call.other, NULL), 0, call.path, call.other, NULL, 0);
    leave(&call);
    errno = before;
    return result;
}

API int link(const char *path, const char *other) { return linkat(AT_FDCWD, path, AT_FDCWD, other, 0); }

API int symlinkat(const char *content, int at, const char *path) {
    REAL(symlinkat);
    struct call call;
    enter_path(&call, at, path, 0, NULL, LINK, "symlink");
    int result = is_failed(&call) ? (errno = error_code, -1) : real(content, at, path);
    int before = errno;
    if (call.counted && !result) note('N', inode_at(call.path, NULL), 0, call.path, content, NULL, 0);
    leave(&call);
    errno = before;
    return result;
}

API int symlink(const char *content, const char *path) { return symlinkat(content, AT_FDCWD, path); }

API int unlinkat(int at, const char *path, int flags) {
    struct call call;
    enter_path(&call, at, path, 0, NULL, UNLINK, flags & AT_REMOVEDIR ? "rmdir" : "unlink");
    int result = is_failed(&call) ? (errno = error_code, -1) : (int)syscall(SYS_unlinkat, at, path, flags);
    int before = errno;
    if (call.counted && !result) note('U', 0, 0, call.path, "", NULL, 0);
    leave(&call);
    errno = before;
    return result;
}

API int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
API int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

API int remove(const char *path) {
    int is_directory = 0;
    inode_at(path, &is_directory);
    return unlinkat(AT_FDCWD, path, is_directory ? AT_REMOVEDIR : 0);
}

/* Sizes. */

static void resized(struct call *call, int fd, int64_t old) {
    if (!call->counted || log_fd < 0) return;
    int before = errno;
    int64_t size = size_of(fd);
    if (size != old) note('T', inode_of(fd), size, call->path, "", NULL, 0);
    errno = before;
}

#define SIZING(name, act, failure) \
    struct call call; \
    int result; \
    enter_fd(&call, fd, TRUNCATE, name, (uint64_t)size); \
    int64_t old = call.counted ? size_of(fd) : 0; \
    if (is_failed(&call)) result = failure; \
    else result = act; \
    resized(&call, fd, old); \
    leave(&call); \
    return result

API int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    if (!armed) return real(fd, size);
    SIZING("ftruncate", real(fd, size), (errno = error_code, -1));
}

API int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (!armed) return real(fd, size);
    SIZING("ftruncate", real(fd, size), (errno = error_code, -1));
}

API int fallocate(int fd, int mode, off_t offset, off_t size) {
    REAL(fallocate);
    if (!armed) return real(fd, mode, offset, size);
    SIZING("fallocate", real(fd, mode, offset, size), (errno = error_code, -1));
}

API int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    REAL(fallocate64);
    if (!armed) return real(fd, mode, offset, size);
    SIZING("fallocate", real(fd, mode, offset, size), (errno = error_code, -1));
}

/* These two return the error instead of setting errno. */
API int posix_fallocate(int fd, off_t offset, off_t size) {
    REAL(posix_fallocate);
    if (!armed) return real(fd, offset, size);
    SIZING("posix_fallocate", real(fd, offset, size), error_code);
}

API int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    REAL(posix_fallocate64);
    if (!armed) return real(fd, offset, size);
    SIZING("posix_fallocate", real(fd, offset, size), error_code);
}

static int truncating(const char *path, off64_t size) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int result = ftruncate64(fd, size), before = errno;
    close(fd);
    errno = before;
    return result;
}

API int truncate(const char *path, off_t size) { return truncating(path, size); }
API int truncate64(const char *path, off64_t size) { return truncating(path, size); }

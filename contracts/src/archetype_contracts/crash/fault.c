/*
 * A preloaded library that makes system calls fail: it handles the calls of a process that change one directory.
 *
 * It does nothing until a process arms it for a root directory. From then on seccomp traps these calls (SIGSYS) to a
 * handler in this file, whether libc makes them or other code does. Each call that changes something below the root is
 * counted. The k-th may kill the process, fail, or write less than asked; with a log, every call is logged.
 * io_uring and cloned ranges cannot be handled, so they fail as on a kernel that lacks them.
 * It does not see writes through mmap. A trapped call ends the process if the thread blocked SIGSYS without libc, or if a
 * program was started without this library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum { WRITE = 1, SYNC = 2, RENAME = 4, LINK = 8, UNLINK = 16, CREATE = 32, TRUNCATE = 64 };
enum { NOTHING, KILL_BEFORE, KILL_AFTER, FAIL, SHORT };

#define RING 48
#define LINE 160

/* Shared with forked processes, so that the parent can read it after a child is killed. */
struct board {
    uint64_t count;    /* number of counted calls */
    uint64_t fired;    /* number of the first call with a fault, 0 for none */
    uint64_t fired_ns; /* its time by CLOCK_MONOTONIC */
    char ring[RING][LINE];
};

static struct board *board;
static char root[PATH_MAX];
static size_t root_length;
static volatile int armed;
static int is_filtered;
static const char *missing;
static int kind, persistent, error_code, skips_sync;
static unsigned classes;
static uint64_t target;
static int log_fd = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

/* The trampoline: the filter allows every call from this code. It returns the result of the kernel. */

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
__asm__(".text\n"
        "archetype_trampoline:\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsi\n"
        "    mov %rcx, %rdx\n"
        "    mov %r8, %r10\n"
        "    mov %r9, %r8\n"
        "    mov 8(%rsp), %r9\n"
        "    syscall\n"
        "archetype_trampoline_passed:\n"
        "    ret\n"
        "archetype_trampoline_end:\n");
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define MACHINE AUDIT_ARCH_AARCH64
__asm__(".text\n"
        "archetype_trampoline:\n"
        "    mov x8, x0\n"
        "    mov x0, x1\n"
        "    mov x1, x2\n"
        "    mov x2, x3\n"
        "    mov x3, x4\n"
        "    mov x4, x5\n"
        "    mov x5, x6\n"
        "    svc #0\n"
        "archetype_trampoline_passed:\n"
        "    ret\n"
        "archetype_trampoline_end:\n");
#else
#error "the fault shim needs x86_64 or aarch64"
#endif

extern const char archetype_trampoline[] __attribute__((visibility("hidden")));
extern const char archetype_trampoline_passed[] __attribute__((visibility("hidden")));
extern const char archetype_trampoline_end[] __attribute__((visibility("hidden")));

/* The filter survives exec, so the trampoline has the same fixed address in every process. */
#define TRAMPOLINE 0x1000000000ul
#define PASSED (TRAMPOLINE + (uint64_t)(archetype_trampoline_passed - archetype_trampoline))

static long trampoline(long number, long a, long b, long c, long d, long e, long f) {
    return ((long (*)(long, long, long, long, long, long, long))TRAMPOLINE)(number, a, b, c, d, e, f);
}

static int build_trampoline(void) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    void *page = mmap((void *)TRAMPOLINE, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (page != (void *)TRAMPOLINE) return -1;
    size_t size = (size_t)(archetype_trampoline_end - archetype_trampoline);
    memcpy(page, archetype_trampoline, size);
    __builtin___clear_cache(page, (char *)page + size);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

/* A trapped call. */
struct request {
    long number;
    long args[6];
};

static long pass(const struct request *request) {
    const long *args = request->args;
    return trampoline(request->number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* These calls are always trapped; open calls are trapped if they may change a file. aarch64 lacks the first groups. */
static const int trapped[] = {
#ifdef SYS_rename
    SYS_creat, SYS_mkdir, SYS_rmdir, SYS_rename, SYS_link, SYS_symlink, SYS_unlink,
#endif
#ifdef SYS_renameat
    SYS_renameat,
#endif
    SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_pwritev2, SYS_copy_file_range, SYS_sendfile, SYS_splice,
    SYS_fsync, SYS_fdatasync, SYS_syncfs, SYS_sync_file_range,
    SYS_openat2, SYS_mkdirat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_unlinkat,
    SYS_truncate, SYS_ftruncate, SYS_fallocate,
};

#define CHANGING (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)
#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)
#define IF_ANY(bits, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, yes, no)
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)

static int install_filter(void) {
    const struct sock_filter head[] = {
        LOAD(arch), IF(MACHINE, 1, 0), RETURN(SECCOMP_RET_ALLOW),
        LOAD(instruction_pointer), IF(PASSED, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        IF(PASSED >> 32, 0, 1), RETURN(SECCOMP_RET_ALLOW),
        LOAD(nr),
    };
    const struct sock_filter tail[] = {
#ifdef SYS_open
        IF(SYS_open, 0, 4), LOAD(args[1]), IF_ANY(CHANGING, 0, 1), RETURN(SECCOMP_RET_TRAP), RETURN(SECCOMP_RET_ALLOW),
#endif
        IF(SYS_openat, 0, 4), LOAD(args[2]), IF_ANY(CHANGING, 0, 1), RETURN(SECCOMP_RET_TRAP), RETURN(SECCOMP_RET_ALLOW),
        IF(SYS_ioctl, 0, 5), LOAD(args[1]), IF(FICLONE, 1, 0), IF(FICLONERANGE, 0, 1),
        RETURN(SECCOMP_RET_ERRNO | EOPNOTSUPP), RETURN(SECCOMP_RET_ALLOW),
        IF(SYS_io_uring_setup, 0, 1), RETURN(SECCOMP_RET_ERRNO | ENOSYS),
        RETURN(SECCOMP_RET_ALLOW),
    };
    enum { KINDS = sizeof trapped / sizeof *trapped };
    struct sock_filter lines[sizeof head / sizeof *head + 2 * KINDS + sizeof tail / sizeof *tail], *next = lines;
    memcpy(next, head, sizeof head);
    next += sizeof head / sizeof *head;
    for (int index = 0; index < KINDS; index++) {
        *next++ = (struct sock_filter)IF(trapped[index], 0, 1);
        *next++ = (struct sock_filter)RETURN(SECCOMP_RET_TRAP);
    }
    memcpy(next, tail, sizeof tail);
    struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) ? -1 : 0;
}

/* Never block SIGSYS: a trapped call would end the process. */

#define WITHOUT_OURS \
    sigset_t without; \
    if (set && how != SIG_UNBLOCK) { \
        without = *set; \
        sigdelset(&without, SIGSYS); \
        set = &without; \
    }

API int pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    static __typeof__(&pthread_sigmask) real;
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "pthread_sigmask");
    WITHOUT_OURS;
    return real(how, set, old);
}

API int sigprocmask(int how, const sigset_t *set, sigset_t *old) {
    static __typeof__(&sigprocmask) real;
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "sigprocmask");
    WITHOUT_OURS;
    return real(how, set, old);
}

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void handle_trap(int, siginfo_t *, void *);

__attribute__((constructor)) static void begin(void) {
    void *page = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    board = page == MAP_FAILED ? NULL : page;
    struct sigaction handler = {.sa_sigaction = handle_trap, .sa_flags = SA_SIGINFO};
    /* Block all signals in the handler, so that no other handler waits for its lock. */
    sigfillset(&handler.sa_mask);
    uint32_t action = SECCOMP_RET_TRAP;
    if (!board) missing = "the page shared with child processes cannot be mapped";
    else if (build_trampoline()) missing = "the page of the trampoline cannot be mapped";
    else if (sigaction(SIGSYS, &handler, NULL)) missing = "SIGSYS cannot be handled";
    else if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action)) missing = "seccomp is not available";
}

/* The reason why it cannot work on this system, or NULL. */
API const char *archetype_fault_missing(void) { return missing; }

API struct board *archetype_fault_board(void) { return board; }

API void archetype_fault_reset(void) { memset(board, 0, sizeof *board); }

/* Start to count calls below a directory. The fault happens at the k-th call of these classes (0: never), with `on` also
 * at every later one. With `skip` a sync succeeds without reaching the disk: a killed process loses no page. */
API int archetype_fault_arm(const char *path, int what, uint64_t k, unsigned which, int on, int code, int skip) {
    armed = 0;
    if (missing || !realpath(path, root)) return -1;
    root_length = strlen(root);
    kind = what, target = k, classes = which, persistent = on, error_code = code, skips_sync = skip;
    if (!is_filtered && install_filter()) return -1;
    is_filtered = 1;
    __sync_synchronize();
    armed = 1;
    return 0;
}

API void archetype_fault_disarm(void) { armed = 0; }

/* Write every counted call to a log, which must be outside the root. */
API int archetype_fault_trace(const char *path) {
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return log_fd < 0 ? -1 : 0;
}

/* End the process when its parent ends. */
API void archetype_fault_follow_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

struct __attribute__((packed)) record {
    char kind;
    uint64_t inode;
    int64_t offset;
    uint64_t size;
    uint64_t ns;
    uint32_t path, other;
};

static void write_log(const void *data, size_t size) {
    const char *next = data;
    while (size) {
        long done = trampoline(SYS_write, log_fd, (long)next, (long)size, 0, 0, 0);
        if (done == -EINTR) continue;
        if (done <= 0) abort(); /* a log with a gap would look like a defect of the store */
        next += done, size -= (size_t)done;
    }
}

static void log_event(char what, uint64_t inode, int64_t offset, const char *path, const char *other,
                 const struct iovec *data, uint64_t size) {
    if (log_fd < 0) return;
    struct record record = {what, inode, offset, size, now_ns(), (uint32_t)strlen(path), (uint32_t)strlen(other)};
    write_log(&record, sizeof record);
    write_log(path, record.path);
    write_log(other, record.other);
    for (uint64_t left = size; data && left; data++) {
        size_t part = data->iov_len < left ? data->iov_len : (size_t)left;
        write_log(data->iov_base, part);
        left -= part;
    }
}

/* Write a mark of the caller to the log. */
API void archetype_fault_mark(const char *text) {
    pthread_mutex_lock(&order);
    log_event('M', 0, 0, text, "", NULL, 0);
    pthread_mutex_unlock(&order);
}

/* One counted call. `fault` is its fault, if any. With a log, the lock is held during the call, to log in order. */
struct call {
    int counted, fault, locked;
    char path[PATH_MAX], other[PATH_MAX];
};

static int is_below_root(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Looked up every time: a cache by descriptor would be wrong after libc closes a file internally. */
static int path_of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return 1;
}

/* Open the directory and read its path: realpath may allocate, which a signal handler must not. */
static int path_at(int directory, const char *given, char *path) {
    char parent[PATH_MAX];
    size_t length = given ? strlen(given) : 0, start;
    if (!length || length >= PATH_MAX) return 0;
    while (length > 1 && given[length - 1] == '/') length--;
    for (start = length; start && given[start - 1] != '/'; start--) {}
    const char *name = given + start;
    size_t size = length - start;
    if (!strncmp(name, "..", size)) start = length, size = 0; /* also "." and nothing */
    memcpy(parent, given, start);
    parent[start] = 0;
    int fd = openat(directory, start ? parent : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return 0;
    int known = path_of_fd(fd, path);
    close(fd);
    length = known ? strlen(path) : 0;
    if (!known || length + size + 2 > PATH_MAX) return 0;
    if (!size) return 1;
    if (path[length - 1] != '/') path[length++] = '/';
    memcpy(path + length, name, size);
    path[length + size] = 0;
    return 1;
}

static void die(void) {
    board->fired_ns = now_ns();
    for (;;) kill(getpid(), SIGKILL);
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
    call->fault = kind;
    /* A disk that fills up accepts part of one write, and nothing after it. */
    if (kind == SHORT && (class != WRITE || size < 2 || number > target)) call->fault = number > target ? FAIL : NOTHING;
    if (call->fault != NOTHING && !board->fired) {
        board->fired = number;
        board->fired_ns = now_ns();
    }
}

static void enter_fd(struct call *call, int fd, unsigned class, const char *name, uint64_t size) {
    call->counted = call->fault = call->locked = 0;
    call->other[0] = 0;
    if (path_of_fd(fd, call->path) && is_below_root(call->path)) count(call, class, name, size);
}

static void enter_path(struct call *call, int at, const char *path, int other_at, const char *other, unsigned class,
                       const char *name) {
    call->counted = call->fault = call->locked = 0;
    call->other[0] = 0;
    if (!path_at(at, path, call->path)) return;
    int inside = is_below_root(call->path);
    if (other && path_at(other_at, other, call->other)) inside |= is_below_root(call->other);
    if (inside) count(call, class, name, 0);
}

static void leave(struct call *call) {
    if (call->counted && call->fault == KILL_AFTER) die();
    if (call->locked) pthread_mutex_unlock(&order);
}

static int is_failed(const struct call *call) { return call->counted && call->fault == FAIL; }

static long pass_or_fail(const struct call *call, const struct request *request) {
    return is_failed(call) ? -error_code : pass(request);
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static uint64_t inode_at(const char *path) {
    struct stat found;
    return lstat(path, &found) ? 0 : found.st_ino;
}

static int64_t size_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? -1 : found.st_size;
}

/* Writes, from one buffer or from several. A short write writes half. */

static long on_write(struct request *request, const char *name, int is_gathered, int64_t offset) {
    struct call call;
    int fd = (int)request->args[0];
    struct iovec only = {(void *)request->args[1], (size_t)request->args[2]}, half;
    const struct iovec *parts = is_gathered ? (const struct iovec *)request->args[1] : &only;
    long pieces = is_gathered ? request->args[2] : 1;
    size_t size = 0;
    for (long index = 0; index < pieces; index++) size += parts[index].iov_len;
    enter_fd(&call, fd, WRITE, name, size);
    if (call.counted && call.fault == SHORT) {
        /* Write half of the first buffer that is not empty. */
        const struct iovec *first = parts;
        while (!first->iov_len) first++;
        half = (struct iovec){first->iov_base, (first->iov_len + 1) / 2};
        request->args[1] = (long)(is_gathered ? &half : half.iov_base);
        request->args[2] = is_gathered ? 1 : (long)half.iov_len;
    }
    long done = pass_or_fail(&call, request);
    if (call.counted && done > 0 && log_fd >= 0) {
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - done;
        log_event('W', inode_of(fd), offset, call.path, "", parts, (uint64_t)done);
        if (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) log_event('S', inode_of(fd), 0, call.path, "", NULL, 0);
    }
    leave(&call);
    return done;
}

/* Copies within the kernel cannot be logged, so they fail with ENOSYS, and the process must copy with writes. */
static long on_copy(const struct request *request, int out) {
    char path[PATH_MAX];
    return path_of_fd(out, path) && is_below_root(path) ? -ENOSYS : pass(request);
}

/* Syncs. A failed sync is logged too: its data is clean in memory but not on disk. */
static long on_sync(const struct request *request, const char *name) {
    struct call call;
    struct stat found;
    int fd = (int)request->args[0];
    enter_fd(&call, fd, SYNC, name, 0);
    long result = call.counted && skips_sync && !is_failed(&call) ? 0 : pass_or_fail(&call, request);
    if (call.counted && log_fd >= 0 && !fstat(fd, &found))
        log_event(result ? 'F' : S_ISDIR(found.st_mode) ? 'Y' : 'S', found.st_ino, 0, call.path, "", NULL, 0);
    leave(&call);
    return result;
}

/* sync_file_range makes nothing durable, so it is counted but not logged. */
static long on_sync_range(const struct request *request) {
    struct call call;
    enter_fd(&call, (int)request->args[0], SYNC, "sync_file_range", 0);
    long result = pass_or_fail(&call, request);
    leave(&call);
    return result;
}

/* Opening for writing, and creating. */

static long on_open(const struct request *request, int at, const char *path, uint64_t flags) {
    struct call call;
    if (!(flags & CHANGING)) return pass(request);
    enter_path(&call, at, path, 0, NULL, CREATE, "open");
    uint64_t existed = call.counted ? inode_at(call.path) : 0;
    long fd = pass_or_fail(&call, request);
    if (call.counted && fd >= 0 && (flags & O_TMPFILE) != O_TMPFILE) {
        if (!existed) log_event('C', inode_of((int)fd), 0, call.path, "", NULL, 0);
        else if (flags & O_TRUNC) log_event('T', inode_of((int)fd), 0, call.path, "", NULL, 0);
    }
    leave(&call);
    return fd;
}

static long on_mkdir(const struct request *request, int at, const char *path) {
    struct call call;
    enter_path(&call, at, path, 0, NULL, CREATE, "mkdir");
    long result = pass_or_fail(&call, request);
    if (call.counted && !result) log_event('D', inode_at(call.path), 0, call.path, "", NULL, 0);
    leave(&call);
    return result;
}

/* Names. */

static long on_rename_or_link(const struct request *request, int at, const char *path, int other_at, const char *other,
                   unsigned class) {
    struct call call;
    enter_path(&call, at, path, other_at, other, class, class == RENAME ? "rename" : "link");
    long result = pass_or_fail(&call, request);
    if (call.counted && !result)
        log_event(class == RENAME ? 'R' : 'L', inode_at(call.other), 0, call.path, call.other, NULL, 0);
    leave(&call);
    return result;
}

static long on_symlink(const struct request *request, const char *content, int at, const char *path) {
    struct call call;
    enter_path(&call, at, path, 0, NULL, LINK, "symlink");
    long result = pass_or_fail(&call, request);
    if (call.counted && !result) log_event('N', inode_at(call.path), 0, call.path, content, NULL, 0);
    leave(&call);
    return result;
}

static long on_remove(const struct request *request, int at, const char *path, const char *name) {
    struct call call;
    enter_path(&call, at, path, 0, NULL, UNLINK, name);
    long result = pass_or_fail(&call, request);
    if (call.counted && !result) log_event('U', 0, 0, call.path, "", NULL, 0);
    leave(&call);
    return result;
}

/* Sizes. */

static long on_resize(const struct request *request, int fd, const char *name, long size) {
    struct call call;
    enter_fd(&call, fd, TRUNCATE, name, (uint64_t)size);
    int64_t old = call.counted ? size_of(fd) : 0;
    long result = pass_or_fail(&call, request);
    int64_t now = call.counted ? size_of(fd) : 0;
    if (now != old) log_event('T', inode_of(fd), now, call.path, "", NULL, 0);
    leave(&call);
    return result;
}

static long on_truncate(const struct request *request) {
    long fd = trampoline(SYS_openat, AT_FDCWD, request->args[0], O_WRONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0) return fd;
    long result = on_resize(request, (int)fd, "truncate", request->args[1]);
    close((int)fd);
    return result;
}

static long on_call(struct request *request) {
    const long *args = request->args;
    const int at = (int)args[0];
#define NAME(index) ((const char *)args[index])
    if (!armed) return pass(request);
    switch (request->number) {
    case SYS_write: return on_write(request, "write", 0, -1);
    case SYS_pwrite64: return on_write(request, "pwrite", 0, args[3]);
    case SYS_writev: return on_write(request, "writev", 1, -1);
    case SYS_pwritev: return on_write(request, "pwritev", 1, args[3]);
    case SYS_pwritev2: return on_write(request, "pwritev2", 1, args[3]);
    case SYS_copy_file_range: return on_copy(request, (int)args[2]);
    case SYS_sendfile: return on_copy(request, at);
    case SYS_splice: return on_copy(request, (int)args[2]);
    case SYS_fsync: return on_sync(request, "fsync");
    case SYS_fdatasync: return on_sync(request, "fdatasync");
    case SYS_syncfs: return on_sync(request, "syncfs");
    case SYS_sync_file_range: return on_sync_range(request);
    case SYS_openat: return on_open(request, at, NAME(1), (uint64_t)args[2]);
    case SYS_openat2: return on_open(request, at, NAME(1), args[2] ? ((struct open_how *)args[2])->flags : 0);
    case SYS_mkdirat: return on_mkdir(request, at, NAME(1));
    case SYS_renameat2: return on_rename_or_link(request, at, NAME(1), (int)args[2], NAME(3), RENAME);
    case SYS_linkat: return on_rename_or_link(request, at, NAME(1), (int)args[2], NAME(3), LINK);
    case SYS_symlinkat: return on_symlink(request, NAME(0), (int)args[1], NAME(2));
    case SYS_unlinkat: return on_remove(request, at, NAME(1), args[2] & AT_REMOVEDIR ? "rmdir" : "unlink");
    case SYS_truncate: return on_truncate(request);
    case SYS_ftruncate: return on_resize(request, at, "ftruncate", args[1]);
    case SYS_fallocate: return on_resize(request, at, "fallocate", args[2] + args[3]);
#ifdef SYS_renameat
    case SYS_renameat: return on_rename_or_link(request, at, NAME(1), (int)args[2], NAME(3), RENAME);
#endif
#ifdef SYS_rename
    case SYS_open: return on_open(request, AT_FDCWD, NAME(0), (uint64_t)args[1]);
    case SYS_creat: return on_open(request, AT_FDCWD, NAME(0), O_WRONLY | O_CREAT | O_TRUNC);
    case SYS_mkdir: return on_mkdir(request, AT_FDCWD, NAME(0));
    case SYS_rename: return on_rename_or_link(request, AT_FDCWD, NAME(0), AT_FDCWD, NAME(1), RENAME);
    case SYS_link: return on_rename_or_link(request, AT_FDCWD, NAME(0), AT_FDCWD, NAME(1), LINK);
    case SYS_symlink: return on_symlink(request, NAME(0), AT_FDCWD, NAME(1));
    case SYS_unlink: return on_remove(request, AT_FDCWD, NAME(0), "unlink");
    case SYS_rmdir: return on_remove(request, AT_FDCWD, NAME(0), "rmdir");
#endif
    default: return pass(request);
    }
}

/* Runs in the thread that makes the call, so it holds no lock yet and interrupts no allocation.
 * It makes trapped calls through the trampoline and other calls through libc. */
static void handle_trap(int signal, siginfo_t *info, void *context) {
    (void)signal;
    int before = errno;
    struct request request = {info->si_syscall, {0}};
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    static const int places[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    for (int index = 0; index < 6; index++) request.args[index] = (long)machine->gregs[places[index]];
    machine->gregs[REG_RAX] = on_call(&request);
#else
    for (int index = 0; index < 6; index++) request.args[index] = (long)machine->regs[index];
    machine->regs[0] = (unsigned long long)on_call(&request);
#endif
    errno = before;
}

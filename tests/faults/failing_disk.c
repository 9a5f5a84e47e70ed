/*
 * A disk that fails on demand, for the tests: loaded before libc with LD_PRELOAD, it sees the calls
 * that change files below one folder, whoever makes them: Python, SQLite, Arrow, OpenCV.
 *
 * A control file that all processes of a server map, and the test too, says which call fails and
 * how. With a log file named, every call that succeeded is written there with what it wrote, so
 * that a test can tell what a disk would hold if the power had gone at any moment.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, SYNC, TRUNCATE, RENAME, MAKE_FOLDER, UNLINK, REMOVE_FOLDER };

#define SHORT (-1) /* half of it is written, and that is what is said */
#define HANG (-2)  /* it does not return before the control says so */

struct control {
    int64_t fail_at;  /* the how-manieth call from now on fails; 0 for none */
    int64_t seen;     /* calls so far */
    int64_t failed;   /* calls that were made to fail */
    int32_t error;    /* an errno, SHORT or HANG */
    int32_t for_good; /* whether all later calls that need room fail as well */
    uint32_t lock;    /* of the log */
    uint32_t unused;
    char only[128];   /* only paths with this text in them count; all if empty */
    char what[256];   /* the call that failed */
};

struct record {
    uint32_t op;
    uint32_t path_length, second_length;
    uint32_t flags;
    uint64_t inode;
    int64_t offset, length, at_ns;
};

static struct control *control;
static const char *root;
static size_t root_length;
static int log_descriptor = -1;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAILING_DISK_CONTROL"), *log = getenv("FAILING_DISK_LOG");
    root = getenv("FAILING_DISK_ROOT");
    if (!path || !root)
        return;
    root_length = strlen(root);
    int descriptor = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return;
    void *mapped =
        mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (log)
        log_descriptor = REAL(open)(log, O_WRONLY | O_APPEND | O_CLOEXEC);
    control = mapped == MAP_FAILED ? NULL : mapped;
}

static int is_inside(const char *path)
{
    return control && !strncmp(path, root, root_length)
        && (path[root_length] == '/' || !path[root_length]);
}

/* The path of an open file, empty if it is none of the folder's. */
static int path_of(int descriptor, char *path)
{
    char link[64];
    path[0] = 0;
    if (!control || descriptor <= 2) /* standard output is no file of the product's */
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return is_inside(path);
}

static int path_at(int folder, const char *name, char *path)
{
    path[0] = 0;
    if (!control || !name)
        return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char link[64];
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d",
                 folder);
        ssize_t length = readlink(link, path, PATH_MAX - 2);
        if (length < 0)
            return 0;
        snprintf(path + length, PATH_MAX - length, "/%s", name);
    }
    return is_inside(path);
}

/* What a call is to do: 0 succeed, SHORT, or fail with an errno. */
static int fate(const char *call, const char *path, int needs_room)
{
    if (control->only[0] && !strstr(path, control->only))
        return 0;
    int64_t fail_at = __atomic_load_n(&control->fail_at, __ATOMIC_SEQ_CST);
    int64_t number = __atomic_add_fetch(&control->seen, 1, __ATOMIC_SEQ_CST);
    if (!fail_at || number < fail_at || (number > fail_at && !control->for_good))
        return 0;
    if (control->for_good && control->error == ENOSPC && !needs_room)
        return 0;
    if (control->error == SHORT && strcmp(call, "write"))
        return 0;
    if (__atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST) == 1)
        snprintf(control->what, sizeof control->what, "%s %.200s", call, path + root_length);
    if (control->error != HANG)
        return control->error;
    while (__atomic_load_n(&control->fail_at, __ATOMIC_SEQ_CST))
        usleep(10000);
    return 0;
}

static void lock_log(void)
{
    if (log_descriptor >= 0)
        while (__atomic_exchange_n(&control->lock, 1, __ATOMIC_ACQUIRE))
            sched_yield();
}

static void unlock_log(void)
{
    if (log_descriptor >= 0)
        __atomic_store_n(&control->lock, 0, __ATOMIC_RELEASE);
}

static void note(uint32_t op, const char *path, const char *second, uint32_t flags, uint64_t inode,
                 int64_t offset, const void *content, int64_t length)
{
    if (log_descriptor < 0)
        return;
    int before = errno;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct record record = {op, strlen(path), strlen(second), flags, inode, offset, length,
                            now.tv_sec * 1000000000LL + now.tv_nsec};
    struct iovec pieces[] = {{&record, sizeof record},
                             {(void *)path, record.path_length},
                             {(void *)second, record.second_length},
                             {(void *)content, content ? length : 0}};
    if (REAL(writev)(log_descriptor, pieces, 4) < 0)
        abort();
    errno = before;
}

static uint64_t inode_of(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) ? 0 : status.st_ino;
}

/* -- files ---------------------------------------------------------------------------------- */

static int opened(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    int writes = (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0;
    int is_ours = writes && path_at(folder, name, path);
    if (is_ours) {
        int end = fate("open", path, (flags & O_CREAT) != 0);
        if (end > 0) {
            errno = end;
            return -1;
        }
        lock_log();
    }
    int descriptor = REAL(openat)(folder, name, flags, mode);
    if (is_ours) {
        if (descriptor >= 0 && (flags & O_TMPFILE) != O_TMPFILE)
            note(OPEN, path, "", flags & (O_CREAT | O_TRUNC), inode_of(descriptor), 0, NULL, 0);
        unlock_log();
    }
    return descriptor;
}

#define MODE                                                                                       \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                         \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }

int open(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...)
{
    MODE return opened(AT_FDCWD, name, flags | O_LARGEFILE, mode);
}
int openat(int folder, const char *name, int flags, ...)
{
    MODE return opened(folder, name, flags, mode);
}
int openat64(int folder, const char *name, int flags, ...)
{
    MODE return opened(folder, name, flags | O_LARGEFILE, mode);
}

/* offset -1 writes where the file stands */
static ssize_t written(int descriptor, const void *content, size_t length, off_t offset)
{
    char path[PATH_MAX];
    int is_ours = path_of(descriptor, path);
    if (is_ours) {
        int end = fate("write", path, 1);
        if (end > 0) {
            errno = end;
            return -1;
        }
        if (end == SHORT && length > 1)
            length /= 2;
        lock_log();
    }
    off_t at = offset;
    if (is_ours && offset < 0 && log_descriptor >= 0) {
        int appends = fcntl(descriptor, F_GETFL) & O_APPEND;
        at = lseek(descriptor, 0, SEEK_CUR);
        struct stat status;
        if (appends && !fstat(descriptor, &status))
            at = status.st_size;
    }
    ssize_t done = offset < 0 ? REAL(write)(descriptor, content, length)
                              : REAL(pwrite)(descriptor, content, length, offset);
    if (is_ours) {
        if (done > 0)
            note(WRITE, path, "", 0, inode_of(descriptor), at, content, done);
        unlock_log();
    }
    return done;
}

ssize_t write(int descriptor, const void *content, size_t length)
{
    return written(descriptor, content, length, -1);
}
ssize_t pwrite(int descriptor, const void *content, size_t length, off_t offset)
{
    return written(descriptor, content, length, offset);
}
ssize_t pwrite64(int descriptor, const void *content, size_t length, off64_t offset)
{
    return written(descriptor, content, length, offset);
}
ssize_t writev(int descriptor, const struct iovec *pieces, int count)
{
    char path[PATH_MAX];
    if (!path_of(descriptor, path))
        return REAL(writev)(descriptor, pieces, count);
    /* Fewer bytes than asked for is what the callers of writev have to expect anyway. */
    for (int number = 0; number < count; number++)
        if (pieces[number].iov_len)
            return written(descriptor, pieces[number].iov_base, pieces[number].iov_len, -1);
    return 0;
}

static ssize_t sent(int target, int source, off_t *offset, size_t length)
{
    char path[PATH_MAX];
    if (!path_of(target, path))
        return REAL(sendfile64)(target, source, offset, length);
    errno = EINVAL; /* as of a file system that lacks it: the caller writes by itself */
    return -1;
}

ssize_t sendfile(int target, int source, off_t *offset, size_t length)
{
    return sent(target, source, offset, length);
}
ssize_t sendfile64(int target, int source, off64_t *offset, size_t length)
{
    return sent(target, source, offset, length);
}

static int synced(int descriptor, int (*sync)(int))
{
    char path[PATH_MAX];
    if (!path_of(descriptor, path))
        return sync(descriptor);
    int end = fate("sync", path, 0);
    if (end > 0) {
        errno = end;
        return -1;
    }
    lock_log();
    int result = sync(descriptor);
    if (!result)
        note(SYNC, path, "", 0, inode_of(descriptor), 0, NULL, 0);
    unlock_log();
    return result;
}

int fsync(int descriptor) { return synced(descriptor, REAL(fsync)); }
int fdatasync(int descriptor) { return synced(descriptor, REAL(fdatasync)); }
int syncfs(int descriptor) { return synced(descriptor, REAL(syncfs)); }

static int truncated(int descriptor, off_t length)
{
    char path[PATH_MAX];
    if (!path_of(descriptor, path))
        return REAL(ftruncate)(descriptor, length);
    int end = fate("truncate", path, 0);
    if (end > 0) {
        errno = end;
        return -1;
    }
    lock_log();
    int result = REAL(ftruncate)(descriptor, length);
    if (!result)
        note(TRUNCATE, path, "", 0, inode_of(descriptor), length, NULL, 0);
    unlock_log();
    return result;
}

int ftruncate(int descriptor, off_t length) { return truncated(descriptor, length); }
int ftruncate64(int descriptor, off64_t length) { return truncated(descriptor, length); }

/* -- names ---------------------------------------------------------------------------------- */

static int renamed(int from_folder, const char *from, int to_folder, const char *to)
{
    char old[PATH_MAX], new[PATH_MAX];
    int is_ours = path_at(from_folder, from, old) | path_at(to_folder, to, new);
    if (!is_ours)
        return REAL(renameat)(from_folder, from, to_folder, to);
    int end = fate("rename", new, 1);
    if (end > 0) {
        errno = end;
        return -1;
    }
    lock_log();
    int result = REAL(renameat)(from_folder, from, to_folder, to);
    if (!result)
        note(RENAME, old, new, 0, 0, 0, NULL, 0);
    unlock_log();
    return result;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return renamed(from_folder, from, to_folder, to);
}

static int folder_made(int folder, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    if (!path_at(folder, name, path))
        return REAL(mkdirat)(folder, name, mode);
    int end = fate("mkdir", path, 1);
    if (end > 0) {
        errno = end;
        return -1;
    }
    lock_log();
    int result = REAL(mkdirat)(folder, name, mode);
    if (!result)
        note(MAKE_FOLDER, path, "", 0, 0, 0, NULL, 0);
    unlock_log();
    return result;
}

int mkdir(const char *name, mode_t mode) { return folder_made(AT_FDCWD, name, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { return folder_made(folder, name, mode); }

static int removed(int folder, const char *name, int flags)
{
    char path[PATH_MAX];
    int is_ours = path_at(folder, name, path);
    if (is_ours)
        lock_log();
    int result = REAL(unlinkat)(folder, name, flags);
    if (is_ours) {
        if (!result)
            note(flags & AT_REMOVEDIR ? REMOVE_FOLDER : UNLINK, path, "", 0, 0, 0, NULL, 0);
        unlock_log();
    }
    return result;
}

int unlink(const char *name) { return removed(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return removed(AT_FDCWD, name, AT_REMOVEDIR); }
int unlinkat(int folder, const char *name, int flags) { return removed(folder, name, flags); }

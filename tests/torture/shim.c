/* Counts the calls that touch files under one folder, and makes the K-th fail, fall short or be the process's last.
 *
 * Preloaded, it lies still until torture_arm() is called; the counts lie in memory that the caller shares, so that they
 * outlive a killed process.
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
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, ONCE, ONWARD, SHORT, SHORT_ONWARD, KILL_BEFORE, KILL_AFTER, KILL_TORN };
enum { WRITES = 1, READS = 2 };
/* what a call may do: take space, move bytes that can be cut short, open a file */
enum { SPACE = 1, BYTES = 2, OPENS = 4 };

struct shared {
    atomic_long count;
    atomic_long fired;
    char call[32];
    char path[480];
};

static struct shared *shared;
static char folder[PATH_MAX];
static size_t folder_length;
static long at;
static int classes, mode, error_number;
static atomic_int armed, fired, spent;

void torture_arm(struct shared *memory, const char *under, int which, long place, int how, int error)
{
    shared = memory;
    folder_length = (size_t)snprintf(folder, sizeof folder, "%s", under);
    classes = which;
    at = place;
    mode = how;
    error_number = error;
    fired = spent = 0;
    armed = 1;
}

void torture_disarm(void) { armed = 0; }

static int inside(const char *path)
{
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int of_file(int file, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0 && inside(path);
}

static int of_name(int base, const char *name, char *path)
{
    path[0] = 0;
    if (!name)
        return 0;
    if (name[0] != '/') {
        if (base == AT_FDCWD) {
            if (!getcwd(path, PATH_MAX / 2))
                return 0;
        } else {
            of_file(base, path);
        }
    }
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "%s%s", length ? "/" : "", name);
    return inside(path);
}

static void mark(const char *call, const char *path)
{
    snprintf(shared->call, sizeof shared->call, "%s", call);
    snprintf(shared->path, sizeof shared->path, "%.470s", path);
    atomic_fetch_add(&shared->fired, 1);
}

enum verdict { PASS, FAIL, CUT, DIE_AFTER, DIE_TORN };

/* Count a call and say what becomes of it. */
static enum verdict judge(int class, int kind, const char *call, const char *path)
{
    if (!armed || !(classes & class))
        return PASS;
    long place = atomic_fetch_add(&shared->count, 1) + 1;
    if (mode == COUNT || place < at)
        return PASS;
    int needed = error_number == ENOSPC || error_number == EDQUOT ? SPACE : error_number == EMFILE ? OPENS : 0;
    int fits = !needed || kind & needed;
    switch (mode) {
    case ONCE:
        if (fits && !atomic_exchange(&fired, 1)) {
            mark(call, path);
            return FAIL;
        }
        return PASS;
    case ONWARD:
        if (!fits)
            return PASS;
        if (!atomic_exchange(&fired, 1))
            mark(call, path);
        return FAIL;
    case SHORT:
    case SHORT_ONWARD:
        if (kind & BYTES && !atomic_exchange(&spent, 1)) {
            mark(call, path);
            return CUT;
        }
        return mode == SHORT_ONWARD && spent && fits ? FAIL : PASS;
    case KILL_BEFORE:
        mark(call, path);
        raise(SIGKILL);
        return PASS;
    case KILL_AFTER:
        if (atomic_exchange(&fired, 1))
            return PASS;
        mark(call, path);
        return DIE_AFTER;
    case KILL_TORN:
        if (!(kind & BYTES) || atomic_exchange(&fired, 1))
            return PASS;
        mark(call, path);
        return DIE_TORN;
    }
    return PASS;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* Run a call under a verdict; `cut` is the same call with half the bytes. */
#define UNDER(judged, type, failure, whole, cut) \
    do { \
        enum verdict told = (judged); \
        if (told == FAIL) { \
            errno = error_number; \
            return failure; \
        } \
        type result = told == CUT || told == DIE_TORN ? (cut) : (whole); \
        if (told == DIE_AFTER || told == DIE_TORN) \
            raise(SIGKILL); \
        return result; \
    } while (0)

#define ON_FILE(class, kind, call) \
    (armed && of_file(file, path) ? judge(class, kind, call, path) : PASS)
#define ON_NAME(base, name, class, kind, call) \
    (armed && of_name(base, name, path) ? judge(class, kind, call, path) : PASS)

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

static enum verdict on_open(int base, const char *name, int flags)
{
    char path[PATH_MAX];
    int class = writes(flags) ? WRITES : READS;
    return ON_NAME(base, name, class, SPACE | OPENS, class == WRITES ? "open to write" : "open to read");
}

#define MODE_OF(flags) \
    mode_t bits = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        bits = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *name, int flags, ...)
{
    REAL(open);
    MODE_OF(flags)
    UNDER(on_open(AT_FDCWD, name, flags), int, -1, real(name, flags, bits), real(name, flags, bits));
}

int open64(const char *name, int flags, ...)
{
    REAL(open64);
    MODE_OF(flags)
    UNDER(on_open(AT_FDCWD, name, flags), int, -1, real(name, flags, bits), real(name, flags, bits));
}

int openat(int base, const char *name, int flags, ...)
{
    REAL(openat);
    MODE_OF(flags)
    UNDER(on_open(base, name, flags), int, -1, real(base, name, flags, bits), real(base, name, flags, bits));
}

int openat64(int base, const char *name, int flags, ...)
{
    REAL(openat64);
    MODE_OF(flags)
    UNDER(on_open(base, name, flags), int, -1, real(base, name, flags, bits), real(base, name, flags, bits));
}

#define CREAT(function) \
    int function(const char *name, mode_t bits) \
    { \
        REAL(function); \
        UNDER(on_open(AT_FDCWD, name, O_WRONLY | O_CREAT), int, -1, real(name, bits), real(name, bits)); \
    }
CREAT(creat)
CREAT(creat64)

#define FOPEN(function) \
    FILE *function(const char *name, const char *how) \
    { \
        REAL(function); \
        int flags = strpbrk(how, "wa+") ? O_WRONLY | O_CREAT : O_RDONLY; \
        UNDER(on_open(AT_FDCWD, name, flags), FILE *, NULL, real(name, how), real(name, how)); \
    }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *data, size_t length)
{
    REAL(write);
    char path[PATH_MAX];
    size_t half = length > 1 ? length / 2 : length;
    UNDER(ON_FILE(WRITES, SPACE | BYTES, "write"), ssize_t, -1, real(file, data, length), real(file, data, half));
}

#define PWRITE(function, offset_type) \
    ssize_t function(int file, const void *data, size_t length, offset_type where) \
    { \
        REAL(function); \
        char path[PATH_MAX]; \
        size_t half = length > 1 ? length / 2 : length; \
        UNDER(ON_FILE(WRITES, SPACE | BYTES, "pwrite"), ssize_t, -1, real(file, data, length, where), \
              real(file, data, half, where)); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int file, const struct iovec *parts, int count)
{
    REAL(writev);
    char path[PATH_MAX];
    int half = count > 1 ? count / 2 : count;
    UNDER(ON_FILE(WRITES, SPACE | BYTES, "writev"), ssize_t, -1, real(file, parts, count), real(file, parts, half));
}

ssize_t read(int file, void *data, size_t length)
{
    REAL(read);
    char path[PATH_MAX];
    size_t half = length > 1 ? length / 2 : length;
    UNDER(ON_FILE(READS, BYTES, "read"), ssize_t, -1, real(file, data, length), real(file, data, half));
}

#define PREAD(function, offset_type) \
    ssize_t function(int file, void *data, size_t length, offset_type where) \
    { \
        REAL(function); \
        char path[PATH_MAX]; \
        size_t half = length > 1 ? length / 2 : length; \
        UNDER(ON_FILE(READS, BYTES, "pread"), ssize_t, -1, real(file, data, length, where), \
              real(file, data, half, where)); \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define SENDFILE(function, offset_type) \
    ssize_t function(int file, int from, offset_type *where, size_t length) \
    { \
        REAL(function); \
        char path[PATH_MAX]; \
        size_t half = length > 1 ? length / 2 : length; \
        UNDER(ON_FILE(WRITES, SPACE | BYTES, "sendfile"), ssize_t, -1, real(file, from, where, length), \
              real(file, from, where, half)); \
    }
ssize_t sendfile(int, int, off_t *, size_t);
ssize_t sendfile64(int, int, off64_t *, size_t);
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define FTRUNCATE(function, offset_type) \
    int function(int file, offset_type length) \
    { \
        REAL(function); \
        char path[PATH_MAX]; \
        UNDER(ON_FILE(WRITES, SPACE, "ftruncate"), int, -1, real(file, length), real(file, length)); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define FALLOCATE(function, offset_type) \
    int function(int file, offset_type where, offset_type length) \
    { \
        REAL(function); \
        char path[PATH_MAX]; \
        UNDER(ON_FILE(WRITES, SPACE, "fallocate"), int, error_number, real(file, where, length), \
              real(file, where, length)); \
    }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

#define SYNC(function) \
    int function(int file) \
    { \
        REAL(function); \
        char path[PATH_MAX]; \
        UNDER(ON_FILE(WRITES, SPACE, #function), int, -1, real(file), real(file)); \
    }
SYNC(fsync)
SYNC(fdatasync)

int close(int file)
{
    REAL(close);
    char path[PATH_MAX];
    int written = armed && of_file(file, path) && writes(fcntl(file, F_GETFL) & O_ACCMODE);
    enum verdict told = written ? judge(WRITES, SPACE, "close", path) : PASS;
    int result = real(file); /* a file is closed also where that fails */
    if (told == DIE_AFTER)
        raise(SIGKILL);
    if (told != FAIL)
        return result;
    errno = error_number;
    return -1;
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    char path[PATH_MAX];
    UNDER(ON_NAME(AT_FDCWD, to, WRITES, SPACE, "rename"), int, -1, real(from, to), real(from, to));
}

int renameat(int base, const char *from, int other, const char *to)
{
    REAL(renameat);
    char path[PATH_MAX];
    UNDER(ON_NAME(other, to, WRITES, SPACE, "rename"), int, -1, real(base, from, other, to), real(base, from, other, to));
}

int link(const char *from, const char *to)
{
    REAL(link);
    char path[PATH_MAX];
    UNDER(ON_NAME(AT_FDCWD, to, WRITES, SPACE, "link"), int, -1, real(from, to), real(from, to));
}

int mkdir(const char *name, mode_t bits)
{
    REAL(mkdir);
    char path[PATH_MAX];
    UNDER(ON_NAME(AT_FDCWD, name, WRITES, SPACE, "mkdir"), int, -1, real(name, bits), real(name, bits));
}

#define REMOVE(function) \
    int function(const char *name) \
    { \
        REAL(function); \
        char path[PATH_MAX]; \
        UNDER(ON_NAME(AT_FDCWD, name, WRITES, 0, #function), int, -1, real(name), real(name)); \
    }
REMOVE(unlink)
REMOVE(rmdir)

int unlinkat(int base, const char *name, int flags)
{
    REAL(unlinkat);
    char path[PATH_MAX];
    UNDER(ON_NAME(base, name, WRITES, 0, "unlinkat"), int, -1, real(base, name, flags), real(base, name, flags));
}

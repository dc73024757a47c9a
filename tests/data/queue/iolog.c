/* Records what a process does to the files below $IOLOG_DIR, in order, into $IOLOG_FILE; with $IOLOG_FAIL=COUNT:ERRNO every
 * write and sync after the first COUNT of them fails; with $IOLOG_FAIL_SYNC=NUMBER the NUMBERth sync of a file fails, and no
 * other; with $IOLOG_KILL=COUNT the process kills itself after so many
 * operations. Loaded by LD_PRELOAD in tests/tools/crash_store.rs and in tests/tools/powercut.rs, which replays the record up
 * to each point, as after a power cut. A record: one letter, path, offset and data with their lengths.
 *   C create   W write   T truncate   S sync   D sync of a directory   U unlink   R rename, the new path as data */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *dir;
static int out = -1;
static long fail_after = -1;
static int fail_with;
static long done;
static long kill_at = -1;
static long sync_to_fail;

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

static ssize_t raw_write(int fd, const void *data, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, data, length);
}

__attribute__((constructor)) static void begin(void) {
    REAL(int, "open64", const char *, int, ...);
    const char *file = getenv("IOLOG_FILE"), *fail = getenv("IOLOG_FAIL"), *end = getenv("IOLOG_KILL");
    const char *sync = getenv("IOLOG_FAIL_SYNC");
    dir = getenv("IOLOG_DIR");
    if (file) out = real(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fail) sscanf(fail, "%ld:%d", &fail_after, &fail_with);
    if (end) kill_at = atol(end);
    if (sync) sync_to_fail = atol(sync);
}

/* Before each operation. */
static void die_if_due(void) {
    if (kill_at >= 0 && kill_at-- == 0) kill(getpid(), SIGKILL);
}

/* The path below the directory, or NULL; a directory itself is "" or its name. */
static const char *below(const char *path) {
    size_t length = dir ? strlen(dir) : 0;
    if (!length || strncmp(path, dir, length)) return NULL;
    if (path[length] == 0) return "";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *named(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, 4095);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return below(buffer);
}

static void record(char kind, const char *path, uint64_t offset, const void *data, uint32_t length) {
    if (out < 0) return;
    uint16_t name = strlen(path);
    size_t size = 1 + 2 + name + 8 + 4 + length;
    char *bytes = malloc(size), *at = bytes;
    *at++ = kind;
    memcpy(at, &name, 2); at += 2;
    memcpy(at, path, name); at += name;
    memcpy(at, &offset, 8); at += 8;
    memcpy(at, &length, 4); at += 4;
    if (length) memcpy(at, data, length);
    raw_write(out, bytes, size);
    free(bytes);
}

/* True when this operation is to fail. */
static int fails(const char *path) {
    if (fail_after < 0 || strstr(path, "-shm") || !strcmp(path, "said")) return 0;
    if (++done <= fail_after) return 0;
    errno = fail_with;
    return 1;
}

static int opened(int fd, int flags, const char *path, int existed) {
    const char *name = below(path);
    if (fd >= 0 && name && (flags & O_CREAT) && !existed) record('C', name, 0, NULL, 0);
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
        pthread_mutex_lock(&lock); \
        int existed = access(path, F_OK) == 0; \
        if (!existed && below(path)) die_if_due(); \
        int fd = opened(real(path, flags, mode), flags, path, existed); \
        pthread_mutex_unlock(&lock); \
        return fd; \
    }
OPEN(open)
OPEN(open64)

static ssize_t writing(int fd, const void *data, size_t length, off_t offset, int positioned) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    char buffer[4096];
    const char *name = named(fd, buffer);
    if (!name) return positioned ? real(fd, data, length, offset) : raw_write(fd, data, length);
    pthread_mutex_lock(&lock);
    die_if_due();
    ssize_t written = -1;
    if (!fails(name)) {
        off_t at = positioned ? offset : lseek(fd, 0, SEEK_CUR);
        written = positioned ? real(fd, data, length, offset) : raw_write(fd, data, length);
        if (written > 0) record('W', name, at, data, written);
    }
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int fd, const void *data, size_t length) { return writing(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return writing(fd, data, length, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return writing(fd, data, length, offset, 1); }

static int syncing(int fd, const char *function) {
    int (*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, function);
    char buffer[4096];
    const char *name = named(fd, buffer);
    if (!name) return real(fd);
    struct stat state;
    pthread_mutex_lock(&lock);
    die_if_due();
    int result = -1;
    int folder = fstat(fd, &state) == 0 && S_ISDIR(state.st_mode);
    if (!folder && sync_to_fail > 0 && --sync_to_fail == 0) {
        errno = EIO;
    } else if (!fails(name)) {
        result = 0; /* the replay decides what would be on the disk */
        record(folder ? 'D' : 'S', name, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return syncing(fd, "fsync"); }
int fdatasync(int fd) { return syncing(fd, "fdatasync"); }

static int truncating(int fd, off_t length) {
    REAL(int, "ftruncate64", int, off_t);
    char buffer[4096];
    const char *name = named(fd, buffer);
    pthread_mutex_lock(&lock);
    if (name) die_if_due();
    int result = real(fd, length);
    if (name && result == 0) record('T', name, length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) { return truncating(fd, length); }
int ftruncate64(int fd, off_t length) { return truncating(fd, length); }

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    const char *name = below(from), *other = below(to);
    pthread_mutex_lock(&lock);
    if (name) die_if_due();
    int result = real(from, to);
    if (result == 0 && name && other) record('R', name, 0, other, strlen(other));
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    const char *name = below(path);
    pthread_mutex_lock(&lock);
    if (name) die_if_due();
    int result = real(path);
    if (result == 0 && name) record('U', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

// Faults of a disk, on demand: loaded into iocast before the C library (LD_PRELOAD), it fails writes, syncs and renames of
// files below FAULT_UNDER as the control file FAULT_CONTROL says. The story writes that file. FAULT_TIME (seconds since 1970)
// is the time at which the process begins.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic int32_t mode;      // 0: none, 1: the disk is full, 2: the n-th call fails, 3: the n-th call and all after it fail
    _Atomic int32_t kinds;     // bits: 1 write, 2 sync, 4 rename
    _Atomic int32_t countdown; // calls that still succeed
    _Atomic int32_t failed;    // calls that failed
};

static struct control *control;
static const char *under;
static time_t ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULT_CONTROL");
    under = getenv("FAULT_UNDER");
    const char *begins = getenv("FAULT_TIME");
    if (begins) ahead = (time_t)atoll(begins) - time(NULL);
    int fd = path && under ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) control = map;
}

static int is_under(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, under, strlen(under)) == 0;
}

// Whether this call shall fail. `grows`: it makes the file longer.
static int fails(int kind, int ours, int grows) {
    if (!control || !ours) return 0;
    int mode = atomic_load(&control->mode);
    if (mode == 0 || !(atomic_load(&control->kinds) & kind)) return 0;
    int now = 0;
    if (mode == 1) now = grows;
    else {
        int left = atomic_fetch_sub(&control->countdown, 1);
        now = mode == 2 ? left == 0 : left <= 0;
    }
    if (!now) return 0;
    atomic_fetch_add(&control->failed, 1);
    errno = mode == 1 ? ENOSPC : EIO;
    return 1;
}

static int active(void) { return control && atomic_load(&control->mode) != 0; }

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int failed = real(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += ahead;
    return failed;
}

static int grows(int fd, off_t end) {
    struct stat about;
    return fstat(fd, &about) == 0 && end > about.st_size;
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (active() && fails(1, is_under(fd), 1)) return -1;
    return real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    if (active() && fails(1, is_under(fd), grows(fd, at + (off_t)size))) return -1;
    return real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    if (active() && fails(1, is_under(fd), grows(fd, at + (off_t)size))) return -1;
    return real(fd, data, size, at);
}

int fsync(int fd) {
    REAL(fsync);
    if (active() && fails(2, is_under(fd), 0)) return -1;
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (active() && fails(2, is_under(fd), 0)) return -1;
    return real(fd);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (active() && fails(4, strncmp(to, under, strlen(under)) == 0, 1)) return -1;
    return real(from, to);
}

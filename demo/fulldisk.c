/* Lets one process find its disk full while the byte in the file FULLDISK is not zero (LD_PRELOAD).
 *
 * Owns writes to regular files, new folders, and what statvfs tells. Sockets, pipes and ttys work
 * on, and so do reading and removing, as on a disk that is full. The file is mapped, so that
 * whoever switches it needs no signal and the process no system call.
 * Compiled by demo/fulldisk.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

static const volatile char *full;

__attribute__((constructor)) static void look_for_the_switch(void)
{
    const char *path = getenv("FULLDISK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        full = map;
    close(fd);
}

static int refuses(int fd)
{
    struct stat st;
    if (!full || !*full || fstat(fd, &st) || !S_ISREG(st.st_mode))
        return 0;
    errno = ENOSPC;
    return 1;
}

#define REAL(name) (real ? real : (real = (__typeof__(real))dlsym(RTLD_NEXT, name)))

ssize_t write(int fd, const void *data, size_t count)
{
    static ssize_t (*real)(int, const void *, size_t);
    return refuses(fd) ? -1 : REAL("write")(fd, data, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    static ssize_t (*real)(int, const struct iovec *, int);
    return refuses(fd) ? -1 : REAL("writev")(fd, parts, count);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    return refuses(fd) ? -1 : REAL("pwrite")(fd, data, count, at);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    return refuses(fd) ? -1 : REAL("pwrite64")(fd, data, count, at);
}

int mkdir(const char *path, mode_t mode)
{
    static int (*real)(const char *, mode_t);
    if (full && *full) {
        errno = ENOSPC;
        return -1;
    }
    return REAL("mkdir")(path, mode);
}

int statvfs(const char *path, struct statvfs *told)
{
    static int (*real)(const char *, struct statvfs *);
    int ret = REAL("statvfs")(path, told);
    if (!ret && full && *full)
        told->f_bfree = told->f_bavail = 0;
    return ret;
}

int statvfs64(const char *path, struct statvfs64 *told)
{
    static int (*real)(const char *, struct statvfs64 *);
    int ret = REAL("statvfs64")(path, told);
    if (!ret && full && *full)
        told->f_bfree = told->f_bavail = 0;
    return ret;
}

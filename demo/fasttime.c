/* Lets one process live FASTTIME times faster, with a wall clock WALL_OFFSET_S wrong (LD_PRELOAD).
 *
 * Owns the monotonic clocks as this process reads them, and its waits, which shrink to match.
 * Both clocks are scaled around zero, so that all processes with one factor agree. CLOCK_BOOTTIME
 * stays as it is: it is shared with processes that are not hurried.
 * Compiled by demo/fasttime.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double factor(void)
{
    static double value;
    if (!value) {
        const char *text = getenv("FASTTIME");
        value = text ? atof(text) : 1.0;
        if (value <= 0.0)
            value = 1.0;
    }
    return value;
}

static long wall_offset_s(void)
{
    static long value;
    static int known;
    if (!known) {
        const char *text = getenv("WALL_OFFSET_S");
        value = text ? atol(text) : 0;
        known = 1;
    }
    return value;
}

static int is_scaled(clockid_t id)
{
    return id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_RAW;
}

static struct timespec from_ns(__int128 ns)
{
    struct timespec ts = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
    return ts;
}

static __int128 to_ns(const struct timespec *ts)
{
    return (__int128)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

static struct timespec shrunk(__int128 ns)
{
    return from_ns(ns * 1000 / (__int128)(factor() * 1000));
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int ret = syscall(SYS_clock_gettime, id, ts);
    if (!ret && is_scaled(id))
        *ts = from_ns(to_ns(ts) * (__int128)(factor() * 1000) / 1000);
    else if (!ret && id == CLOCK_REALTIME)
        ts->tv_sec += wall_offset_s();
    return ret;
}

int poll(struct pollfd *fds, nfds_t count, int ms)
{
    struct timespec ts = shrunk((__int128)ms * 1000000);
    return ppoll(fds, count, ms < 0 ? NULL : &ts, NULL);
}

int epoll_wait(int ep, struct epoll_event *events, int max, int ms)
{
    struct timespec ts = shrunk((__int128)ms * 1000000);
    return syscall(SYS_epoll_pwait2, ep, events, max, ms < 0 ? NULL : &ts, NULL, 8);
}

/* Python's time.sleep(): absolute, on CLOCK_MONOTONIC */
int clock_nanosleep(clockid_t id, int flags, const struct timespec *want, struct timespec *left)
{
    struct timespec ts = *want;
    if (is_scaled(id) || !(flags & TIMER_ABSTIME))
        ts = shrunk(to_ns(want));
    return syscall(SYS_clock_nanosleep, id, flags, &ts, left) ? errno : 0;
}

/* Python's locks and its interpreter lock wait until a moment that it computed from the scaled
 * clock; the kernel must be given the true one. A condition's clock cannot be asked for, but
 * seconds of the epoch are above 1e9 and scaled uptimes are far below. */
static const struct timespec *true_deadline(const struct timespec *want, struct timespec *buffer)
{
    if (want->tv_sec >= 1000000000)
        return want;
    *buffer = shrunk(to_ns(want));
    return buffer;
}

static void *original(const char *name)
{
    /* Without a version, old C libraries hand out the condition variables of LinuxThreads. */
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    if (!found)
        found = dlsym(RTLD_NEXT, name);
    return found;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                           const struct timespec *want)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec buffer;
    if (!real)
        real = original("pthread_cond_timedwait");
    return real(cond, mutex, true_deadline(want, &buffer));
}

int sem_clockwait(sem_t *sem, clockid_t id, const struct timespec *want)
{
    static int (*real)(sem_t *, clockid_t, const struct timespec *);
    struct timespec buffer;
    if (!real)
        real = original("sem_clockwait");
    return real(sem, id, is_scaled(id) ? true_deadline(want, &buffer) : want);
}

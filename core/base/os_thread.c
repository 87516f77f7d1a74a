/* base/os_thread.c - see os.h: the pool behind pare_parallel.
 *
 * Workers start at the first call that needs them, sleep between calls and live as long as the process. One job at a
 * time: a call that finds the pool taken (nested, or from another thread) does its work itself. May use: POSIX threads.
 */
#define _POSIX_C_SOURCE 200809L
#include "base/os.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_uint wanted; /* 0: as many as there are cores */

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER; /* held for the whole of a job */

/* Everything below is guarded by `lock`; `next` is also taken from without it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, idle = PTHREAD_COND_INITIALIZER;
static struct {
    uint32_t workers; /* started so far */
    uint32_t places;  /* workers that may still join the job */
    uint32_t running; /* workers inside it */
    uint64_t n;
    void (*fn)(void *ctx, uint64_t i);
    void *ctx;
} pool;
static atomic_uint_least64_t next;

void pare_threads_set(uint32_t n) { atomic_store(&wanted, n); }

uint32_t pare_threads(void) {
    uint32_t n = atomic_load(&wanted);
    return n ? n : pare_cpu_count();
}

static void work(uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx) {
    for (;;) {
        uint64_t i = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
        if (i >= n) return;
        fn(ctx, i);
    }
}

static void *worker(void *arg) {
    (void)arg;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!pool.places) pthread_cond_wait(&wake, &lock);
        pool.places--;
        pool.running++;
        uint64_t n = pool.n;
        void (*fn)(void *ctx, uint64_t i) = pool.fn;
        void *ctx = pool.ctx;
        pthread_mutex_unlock(&lock);
        work(n, fn, ctx);
        pthread_mutex_lock(&lock);
        if (--pool.running == 0) pthread_cond_signal(&idle);
    }
    return NULL;
}

/* Starts workers until there are `n`. Called with lock held. Fewer than asked is no failure: the caller works too. */
static void start_workers(uint32_t n) {
    if (pool.workers >= n) return;
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) return;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all); /* signals belong to the threads the program made itself */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.workers < n) {
        pthread_t t;
        if (pthread_create(&t, &attr, worker, NULL) != 0) break;
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

void pare_parallel(uint64_t n, void (*fn)(void *ctx, uint64_t i), void *ctx) {
    uint32_t threads = n > 1 ? pare_threads() : 1;
    if (threads > n) threads = (uint32_t)n;
    if (threads < 2 || pthread_mutex_trylock(&taken) != 0) {
        for (uint64_t i = 0; i < n; i++) fn(ctx, i);
        return;
    }
    pthread_mutex_lock(&lock);
    start_workers(threads - 1);
    pool.n = n;
    pool.fn = fn;
    pool.ctx = ctx;
    atomic_store(&next, 0);
    pool.places = threads - 1;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);

    work(n, fn, ctx);

    pthread_mutex_lock(&lock);
    pool.places = 0; /* who has not woken by now is not needed */
    while (pool.running) pthread_cond_wait(&idle, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&taken);
}

/* ---- jobs ---- */

struct pare_job {
    pthread_t thread;
    bool started;
    void (*fn)(void *ctx);
    void *ctx;
};

static void *job_main(void *arg) {
    pare_job *job = arg;
    job->fn(job->ctx);
    return NULL;
}

pare_job *pare_job_start(void (*fn)(void *ctx), void *ctx) {
    pare_job *job = pare_xcalloc(1, sizeof *job);
    job->fn = fn;
    job->ctx = ctx;
    sigset_t all, old; /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    job->started = pthread_create(&job->thread, NULL, job_main, job) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!job->started) fn(ctx);
    return job;
}

void pare_job_join(pare_job *job) {
    if (!job) return;
    if (job->started) pthread_join(job->thread, NULL);
    free(job);
}

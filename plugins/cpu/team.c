/* cpu/team.c - see team.h. libgomp's entry points are called by name: the same object with gcc and with clang, whose
 * own -fopenmp would bring a second runtime. */
#include "team.h"

#if defined(__SANITIZE_THREAD__)
#define CPU_TEAM_SERIAL 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CPU_TEAM_SERIAL 1
#endif
#endif

/* The runtime's ABI (GCC's libgomp/libgomp_g.h) and OpenMP's API. */
extern void GOMP_parallel(void (*fn)(void *), void *data, unsigned threads, unsigned flags);
extern int omp_get_thread_num(void);
extern int omp_get_num_threads(void);
extern int omp_get_max_threads(void);
extern void omp_set_num_threads(int n);

void cpu_team_size(uint32_t threads) {
#ifdef CPU_TEAM_SERIAL /* libgomp is not instrumented: every team would look like a race */
    threads = 1;
#endif
    if (omp_get_max_threads() != (int)threads) omp_set_num_threads((int)threads);
}

typedef struct job {
    uint64_t n, parts;
    void (*fn)(void *ctx, uint64_t begin, uint64_t end);
    void *ctx;
} job;

/* The part of a thread, or several where the runtime gave us fewer threads. */
static void member(void *data) {
    const job *j = data;
    uint64_t step = (uint64_t)omp_get_num_threads();
    for (uint64_t i = (uint64_t)omp_get_thread_num(); i < j->parts; i += step) {
        uint64_t base = j->n / j->parts, more = j->n % j->parts;
        uint64_t begin = i * base + (i < more ? i : more);
        j->fn(j->ctx, begin, begin + base + (i < more));
    }
}

void cpu_team_run(uint32_t threads, uint64_t n, uint64_t grain, void (*fn)(void *ctx, uint64_t begin, uint64_t end),
                  void *ctx) {
    if (!n) return;
    if (!grain) grain = 1;
    uint64_t parts = n / grain;
    if (parts > threads) parts = threads;
#ifdef CPU_TEAM_SERIAL
    parts = 1;
#endif
    if (parts <= 1) {
        fn(ctx, 0, n);
        return;
    }
    job j = {n, parts, fn, ctx};
    GOMP_parallel(member, &j, (unsigned)parts, 0);
}

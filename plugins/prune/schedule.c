/* prune/schedule.c - see schedule.h. */
#include "schedule.h"

#include <math.h>
#include <stdio.h>

static pare_status wrong(const pare_host *host, const char *code, const char *param, const char *hint,
                         const char *message) {
    PARE_REPORT(host, PARE_ERROR, .code = code, .message = message, .hint = hint, .param = param);
    return PARE_EINVAL;
}

/* A number so large that it is no step of any training stays one that fits. */
static uint64_t whole(double x) { return x >= 1e18 ? (uint64_t)1e18 : (uint64_t)floor(x + 0.5); }

static uint64_t step_of(const prune_options *o, double v, uint64_t steps, uint64_t steps_per_epoch) {
    if (o->epochs) return whole(v * (double)steps_per_epoch);
    return whole(v <= 1 ? v * (double)steps : v);
}

pare_status prune_times_make(const pare_host *host, const prune_options *o, uint64_t steps, uint64_t steps_per_epoch,
                             prune_times *out) {
    prune_times t = {.start = step_of(o, o->start, steps, steps_per_epoch),
                     .end = o->has_end ? step_of(o, o->end, steps, steps_per_epoch) : whole(o->end * (double)steps)};
    char text[200];
    if (t.end <= t.start) {
        (void)snprintf(text, sizeof text, "the end, %.10g, is step %llu, which is not after the start at step %llu",
                       o->end, (unsigned long long)t.end, (unsigned long long)t.start);
        return wrong(host, "prune.end", "end", "pruning goes on from start to end: give it some steps", text);
    }
    if (t.end > steps) {
        (void)snprintf(text, sizeof text, "the end, %.10g, is step %llu, but the training has only %llu steps", o->end,
                       (unsigned long long)t.end, (unsigned long long)steps);
        return wrong(host, "prune.end", "end", "let it end before the training does, as with end: 0.75", text);
    }
    const uint64_t way = t.end - t.start;
    t.every = !o->has_every ? way / 20 : o->epochs ? whole(o->every * (double)steps_per_epoch) : whole(o->every);
    if (!o->has_every && t.every > 100) t.every = 100;
    if (t.every < 1) t.every = 1;
    *out = t;
    return PARE_OK;
}

uint64_t prune_times_next(const prune_times *t, uint64_t step) {
    if (step >= t->end) return PRUNE_NEVER;
    if (step < t->start) step = t->start;
    const uint64_t turn = (step - t->start) / t->every + 1;
    return turn > (t->end - t->start) / t->every ? t->end : t->start + turn * t->every;
}

static double share(const prune_times *t, uint64_t step) {
    if (step <= t->start) return 0;
    return step >= t->end ? 1 : (double)(step - t->start) / (double)(t->end - t->start);
}

double prune_times_done(const prune_times *t, prune_schedule kind, uint64_t step) {
    const double p = share(t, step), rest = 1 - p;
    return kind == PRUNE_LINEAR ? p : 1 - rest * rest * rest;
}

double prune_times_drop(const prune_times *t, double drop, uint64_t step) {
    const double pi = 3.14159265358979323846;
    return drop / 2 * (1 + cos(pi * share(t, step)));
}

uint64_t prune_between(uint64_t from, uint64_t to, double done) {
    if (done <= 0) return from;
    if (done >= 1) return to;
    if (to < from) return from - prune_between(0, from - to, done);
    return from + (uint64_t)((double)(to - from) * done + 0.5);
}

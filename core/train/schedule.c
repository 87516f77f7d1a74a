/* train/schedule.c - see schedule.h. Formulas: torch.optim.lr_scheduler's StepLR, CosineAnnealingLR, OneCycleLR (two
 * phases, cosine) and PolynomialLR, in closed form.
 */
#include "train/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* From a to b along half a cosine; x in [0, 1]. */
static double ease(double a, double b, double x) { return b + (a - b) / 2 * (1 + cos(pi * x)); }

static pare_rate one_cycle(const pare_fit_opts *o, double step, double steps) {
    const pare_schedule_opts *s = &o->schedule;
    double start = o->lr / s->div_factor, end = start / s->final_div;
    double turn = s->pct_start * steps - 1, last = steps - 1;
    pare_rate r = {.momentum = o->momentum};
    if (step <= turn) {
        double x = turn > 0 ? step / turn : 1;
        r.lr = ease(start, o->lr, x);
        if (s->cycle_momentum) r.momentum = ease(s->momentum_max, s->momentum_min, x);
    } else {
        double x = last > turn ? (step - turn) / (last - turn) : 1;
        r.lr = ease(o->lr, end, x);
        if (s->cycle_momentum) r.momentum = ease(s->momentum_min, s->momentum_max, x);
    }
    return r;
}

pare_rate pare_schedule_at(const pare_fit_opts *o, uint64_t step, uint64_t steps, uint64_t per_epoch) {
    const pare_schedule_opts *s = &o->schedule;
    double warm = floor(s->warmup < 1 ? s->warmup * (double)steps : s->warmup);
    double t = (double)step, total = (double)steps;
    pare_rate r = {o->lr, o->momentum};
    if (s->kind == PARE_SCHEDULE_ONECYCLE) return one_cycle(o, t, total); /* it rises by itself */
    if (t < warm) {
        r.lr = o->lr * (t + 1) / warm;
        return r;
    }
    double rest = total - warm, x = rest > 0 ? (t - warm) / rest : 0;
    switch (s->kind) {
    case PARE_SCHEDULE_STEP:
        r.lr = o->lr * pow(s->gamma, floor(t / ((double)(per_epoch ? per_epoch : 1) * s->step_epochs)));
        break;
    case PARE_SCHEDULE_COSINE: r.lr = ease(o->lr, s->final_lr, x); break;
    case PARE_SCHEDULE_POLY: r.lr = o->lr * pow(1 - x, s->power); break;
    default: break;
    }
    return r;
}

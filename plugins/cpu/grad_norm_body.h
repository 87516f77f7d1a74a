/* cpu/grad_norm_body.h - grad_norm.c's inner loops, once for each instruction set (simd.h, wide.h). No include guard.
 *
 * They run over images begin..end-1 of one chunk of channels: up to LW lanes side by side, or one channel of plain
 * planes. Sums are of floats within a group of some hundred places, and of doubles beyond.
 */

/* m lanes, the rest 0. `full` is known where this is inlined. */
#define LOAD(v, p)                                                                                                     \
    do {                                                                                                               \
        if (full)                                                                                                      \
            v = *(const wf *)(p);                                                                                      \
        else                                                                                                           \
            SIMD(load_part)(&v, p, m);                                                                                 \
    } while (0)
#define STORE(p, v)                                                                                                    \
    do {                                                                                                               \
        if (full)                                                                                                      \
            W_AT(p) = v;                                                                                               \
        else                                                                                                           \
            memcpy(p, &v, (size_t)m * sizeof(float));                                                                  \
    } while (0)

SIMD_INLINE void SIMD(load_part)(wf *v, const float *p, int64_t m) {
    *v = (wf){0};
    memcpy(v, p, (size_t)m * sizeof(float));
}

/* Plain planes: a group of images and places, which are summed in float. */
#define GROUPS(j, begin, end)                                                                                          \
    for (int64_t n0 = (begin), ng = (j)->group_n; n0 < (end); n0 += ng)                                                \
        for (int64_t s0 = 0, n1 = n0 + ng < (end) ? n0 + ng : (end); s0 < (j)->p.s; s0 += (j)->group_s)

/* Joins mean and sum of squares about it of `count` places to t's. */
SIMD_INLINE void SIMD(merge)(norm_sums *t, const float *mean, const float *m2, double count, int lanes) {
    const double all = t->count + count, part = count / all, both = t->count * part;
    for (int l = 0; l < lanes; l++) {
        const double d = (double)mean[l] - t->a[l];
        t->a[l] += d * part;
        t->b[l] += (double)m2[l] + d * d * both;
    }
    t->count = all;
}

/* The float sums of a group join those in double. Forward, they are of x - shift and of its square: shift is the mean
 * so far, so that the square of the sum takes no digits of the sum of squares. */
SIMD_FN static void SIMD(flush)(const norm_job *j, norm_state *t) {
    if (t->count == 0) return;
    if (j->grad) {
        for (int l = 0; l < LW; l++) {
            t->all.a[l] += (double)t->a[l];
            t->all.b[l] += (double)t->b[l];
        }
        t->all.count += (double)t->count;
    } else {
        const float part = 1 / t->count;
        float mean[LW], m2[LW];
        for (int l = 0; l < LW; l++) {
            mean[l] = t->shift[l] + t->a[l] * part;
            m2[l] = t->b[l] - t->a[l] * t->a[l] * part;
            m2[l] = m2[l] < 0 ? 0 : m2[l];
        }
        SIMD(merge)(&t->all, mean, m2, (double)t->count, LW);
        for (int l = 0; l < LW; l++) t->shift[l] = (float)t->all.a[l];
    }
    W_AT(t->a) = W_AT(t->b) = (wf){0};
    t->count = 0;
}

/* Floats to what is fetched by the way: the chunk's next images, or places of a large map. */
#define AHEAD (j->few < j->p.n ? j->few * j->p.step_n : j->p.s <= 64 ? j->p.step_n : 32 * j->p.step)
/* Places of an image that are summed before the next look at how many there were. */
#define STRETCHES(j, i)                                                                                                \
    for (int64_t i = begin; i < end; i++)                                                                              \
        for (int64_t s = 0, se; s < (j)->p.s; s = se)                                                                  \
            if ((se = s + GROUP < (j)->p.s ? s + GROUP : (j)->p.s), true)

/* Sums of x - shift (a), and of its square (b). The first sums are of few places, as shift is one of them then. */
SIMD_INLINE void SIMD(stats_lanes)(const norm_job *j, const float *x, int64_t m, int64_t begin, int64_t end,
                                   norm_state *t, const bool full) {
    bool young = t->all.count == 0;
    if (young && t->count == 0) {
        wf first;
        LOAD(first, x + begin * j->p.step_n);
        W_AT(t->shift) = first;
    }
    const int64_t step = j->p.step;
    wf sum = W_OF(t->a), sum2 = W_OF(t->b), more = {0}, more2 = {0}, shift = W_OF(t->shift);
    STRETCHES(j, i) {
        const float *p = x + i * j->p.step_n + s * step;
        if (young && se - s > YOUNG) se = s + YOUNG;
        int64_t k = s;
        for (; k + 2 <= se; k += 2, p += 2 * step) {
            wf u, v;
            __builtin_prefetch(p + AHEAD);
            __builtin_prefetch(p + AHEAD + step);
            LOAD(u, p);
            LOAD(v, p + step);
            u -= shift;
            v -= shift;
            sum += u;
            more += v;
            sum2 += u * u;
            more2 += v * v;
        }
        if (k < se) {
            wf u;
            LOAD(u, p);
            u -= shift;
            sum += u;
            sum2 += u * u;
        }
        t->count += (float)(se - s);
        if (t->count < (young ? YOUNG : GROUP)) continue;
        W_AT(t->a) = sum + more;
        W_AT(t->b) = sum2 + more2;
        SIMD(flush)(j, t);
        sum = sum2 = more = more2 = (wf){0};
        shift = W_OF(t->shift);
        young = false;
    }
    W_AT(t->a) = sum + more;
    W_AT(t->b) = sum2 + more2;
}

SIMD_INLINE float SIMD(across)(const wf *v) {
    float part[LW], sum = 0;
    W_AT(part) = *v;
    for (int i = 0; i < LW; i++) sum += part[i];
    return sum;
}

/* Plain planes: one channel, whose places lie behind each other. */
SIMD_INLINE void SIMD(stats_plain)(const norm_job *j, const float *x, int64_t begin, int64_t end, norm_sums *t) {
    GROUPS(j, begin, end) {
        const int64_t n = j->p.s - s0 < j->group_s ? j->p.s - s0 : j->group_s, whole = n / LW * LW;
        const float count = (float)((n1 - n0) * n), first = x[n0 * j->p.step_n + s0];
        wf sum = {0};
        float rest = 0;
        for (int64_t i = n0; i < n1; i++) {
            const float *p = x + i * j->p.step_n + s0;
            for (int64_t k = 0; k < whole; k += LW) sum += W_OF(p + k) - first;
            for (int64_t k = whole; k < n; k++) rest += p[k] - first;
        }
        const float mean = first + (SIMD(across)(&sum) + rest) / count;
        sum = (wf){0};
        rest = 0;
        for (int64_t i = n0; i < n1; i++) {
            const float *p = x + i * j->p.step_n + s0;
            for (int64_t k = 0; k < whole; k += LW) {
                wf v = W_OF(p + k) - mean;
                sum += v * v;
            }
            for (int64_t k = whole; k < n; k++) rest += (p[k] - mean) * (p[k] - mean);
        }
        const float m2 = SIMD(across)(&sum) + rest;
        SIMD(merge)(t, &mean, &m2, (double)count, 1);
    }
}

SIMD_FN static void SIMD(stats)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end, norm_state *t) {
    const float *x = j->x + at;
    if (j->p.width == 1)
        SIMD(stats_plain)(j, x, begin, end, &t->all);
    else if (m == LW)
        SIMD(stats_lanes)(j, x, m, begin, end, t, true);
    else
        SIMD(stats_lanes)(j, x, m, begin, end, t, false);
}

/* y = (x - mean) * factor + bias, and where relu not below 0 nor above high. */
SIMD_INLINE void SIMD(apply_lanes)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end,
                                   const norm_factors *f, const bool full) {
    const wf mean = W_OF(f->mean), factor = W_AT(f->a), bias = W_AT(f->b), high = (wf){0} + j->high;
    for (int64_t i = begin; i < end; i++) {
        const float *x = j->x + at + i * j->p.step_n;
        float *y = j->out + at + i * j->p.step_n;
        for (int64_t s = 0; s < j->p.s; s++, x += j->p.step, y += j->p.step) {
            wf v;
            __builtin_prefetch(y + AHEAD, 1);
            LOAD(v, x);
            v = (v - mean) * factor + bias;
            if (j->relu) v = W_KEEP(~(v < 0), W_SELECT(v > high, high, v));
            STORE(y, v);
        }
    }
}

SIMD_FN static void SIMD(apply)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end,
                                const norm_factors *f) {
    if (j->p.width != 1) {
        if (m == LW)
            SIMD(apply_lanes)(j, at, m, begin, end, f, true);
        else
            SIMD(apply_lanes)(j, at, m, begin, end, f, false);
        return;
    }
    const float mean = f->mean[0], factor = f->a[0], bias = f->b[0];
    for (int64_t i = begin; i < end; i++) {
        const float *restrict x = j->x + at + i * j->p.step_n;
        float *y = j->out + at + i * j->p.step_n;
        for (int64_t s = 0; s < j->p.s; s++) {
            float v = (x[s] - mean) * factor + bias;
            y[s] = j->relu && v < 0 ? 0 : j->relu && v > j->high ? j->high : v;
        }
    }
}

/* ---- backward: g is dy where the forward's y was above 0 and below high, or all of dy ---- */

/* relu: 0, BY_Y (it is read), BY_X (it is computed anew). x has the mean off. */
#define GRADIENT(g, at, x)                                                                                             \
    do {                                                                                                               \
        LOAD(g, j->dy + (at));                                                                                         \
        if (relu) {                                                                                                    \
            wf y_;                                                                                                     \
            if (relu == BY_X)                                                                                          \
                y_ = (x)*factor + bias;                                                                                \
            else                                                                                                       \
                LOAD(y_, j->y + (at));                                                                                 \
            g = W_KEEP((y_ > 0) & (y_ < high), g);                                                                     \
        }                                                                                                              \
    } while (0)

SIMD_INLINE int SIMD(mask_of)(const norm_job *j) { return j->anew ? BY_X : j->relu ? BY_Y : 0; }

/* One place's; y: as it comes of x. */
SIMD_INLINE float SIMD(gradient)(const norm_job *j, int64_t at, float y) {
    if (j->relu && !j->anew) y = j->y[at];
    return j->relu && !(y > 0 && y < j->high) ? 0 : j->dy[at];
}

/* Sum of g (a), and of g * (x - mean) (b). */
SIMD_INLINE void SIMD(sums_lanes)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end,
                                  const norm_factors *f, norm_state *t, const bool full, const int relu) {
    const wf mean = W_OF(f->mean), factor = W_OF(f->factor), bias = W_OF(f->bias), high = (wf){0} + j->high;
    const int64_t step = j->p.step;
    wf sum = W_OF(t->a), along = W_OF(t->b), more = {0}, more_along = {0}, g, x;
    STRETCHES(j, i) {
        int64_t n = se - s, k = at + i * j->p.step_n + s * step;
        for (; n >= 2; n -= 2, k += 2 * step) {
            __builtin_prefetch(j->x + k + AHEAD);
            __builtin_prefetch(j->x + k + AHEAD + step);
            __builtin_prefetch(j->dy + k + AHEAD);
            __builtin_prefetch(j->dy + k + AHEAD + step);
            LOAD(x, j->x + k);
            x -= mean;
            GRADIENT(g, k, x);
            sum += g;
            along += g * x;
            LOAD(x, j->x + k + step);
            x -= mean;
            GRADIENT(g, k + step, x);
            more += g;
            more_along += g * x;
        }
        if (n) {
            LOAD(x, j->x + k);
            x -= mean;
            GRADIENT(g, k, x);
            sum += g;
            along += g * x;
        }
        t->count += (float)(se - s);
        if (t->count < GROUP) continue;
        W_AT(t->a) = sum + more;
        W_AT(t->b) = along + more_along;
        SIMD(flush)(j, t);
        sum = along = more = more_along = (wf){0};
    }
    W_AT(t->a) = sum + more;
    W_AT(t->b) = along + more_along;
}

SIMD_INLINE void SIMD(sums_plain)(const norm_job *j, int64_t at, int64_t begin, int64_t end, const norm_factors *f,
                                  norm_sums *t) {
    const float mean = f->mean[0], factor = f->factor[0], bias = f->bias[0];
    const bool full = true;
    const int relu = SIMD(mask_of)(j);
    const wf high = (wf){0} + j->high;
    const int64_t m = LW;
    (void)m;
    GROUPS(j, begin, end) {
        const int64_t n = j->p.s - s0 < j->group_s ? j->p.s - s0 : j->group_s, whole = n / LW * LW;
        wf sum = {0}, along = {0}, g;
        float rest = 0, rest_along = 0;
        for (int64_t i = n0; i < n1; i++) {
            const int64_t base = at + i * j->p.step_n + s0;
            for (int64_t k = base; k < base + whole; k += LW) {
                const wf x = W_OF(j->x + k) - mean;
                GRADIENT(g, k, x);
                sum += g;
                along += g * x;
            }
            for (int64_t k = base + whole; k < base + n; k++) {
                const float x = j->x[k] - mean, one = SIMD(gradient)(j, k, x * factor + bias);
                rest += one;
                rest_along += one * x;
            }
        }
        t->a[0] += (double)(SIMD(across)(&sum) + rest);
        t->b[0] += (double)(SIMD(across)(&along) + rest_along);
    }
}

SIMD_FN static void SIMD(sums)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end,
                               const norm_factors *f, norm_state *t) {
    if (j->p.width == 1)
        SIMD(sums_plain)(j, at, begin, end, f, &t->all);
    else if (m < LW)
        SIMD(sums_lanes)(j, at, m, begin, end, f, t, false, SIMD(mask_of)(j));
    else if (j->anew)
        SIMD(sums_lanes)(j, at, m, begin, end, f, t, true, BY_X);
    else if (j->relu)
        SIMD(sums_lanes)(j, at, m, begin, end, f, t, true, BY_Y);
    else
        SIMD(sums_lanes)(j, at, m, begin, end, f, t, true, 0);
}

/* dx = factor * (g - a) - (x - mean) * b */
SIMD_INLINE void SIMD(spread_lanes)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end,
                                    const norm_factors *f, const bool full, const int relu) {
    const wf mean = W_OF(f->mean), factor = W_OF(f->factor), a = W_OF(f->a), b = W_OF(f->b), bias = W_OF(f->bias),
             high = (wf){0} + j->high;
    for (int64_t i = begin; i < end; i++)
        for (int64_t s = 0, k = at + i * j->p.step_n; s < j->p.s; s++, k += j->p.step) {
            wf g, x;
            LOAD(x, j->x + k);
            x -= mean;
            GRADIENT(g, k, x);
            g = factor * (g - a) - x * b;
            STORE(j->out + k, g);
        }
}

SIMD_FN static void SIMD(spread)(const norm_job *j, int64_t at, int64_t m, int64_t begin, int64_t end,
                                 const norm_factors *f) {
    if (j->p.width != 1) {
        if (m < LW)
            SIMD(spread_lanes)(j, at, m, begin, end, f, false, SIMD(mask_of)(j));
        else if (j->anew)
            SIMD(spread_lanes)(j, at, m, begin, end, f, true, BY_X);
        else if (j->relu)
            SIMD(spread_lanes)(j, at, m, begin, end, f, true, BY_Y);
        else
            SIMD(spread_lanes)(j, at, m, begin, end, f, true, 0);
        return;
    }
    const float mean = f->mean[0], factor = f->factor[0], a = f->a[0], b = f->b[0], bias = f->bias[0];
    for (int64_t i = begin; i < end; i++)
        for (int64_t s = 0, k = at + i * j->p.step_n; s < j->p.s; s++, k++) {
            const float x = j->x[k] - mean, g = SIMD(gradient)(j, k, x * factor + bias);
            j->out[k] = factor * (g - a) - x * b;
        }
}

static const norm_loops SIMD(norm_loops) = {LW, SIMD(stats), SIMD(apply), SIMD(sums), SIMD(spread), SIMD(flush)};

#undef LOAD
#undef STORE
#undef GROUPS
#undef AHEAD
#undef STRETCHES
#undef GRADIENT

/* cpu/grad_pool_body.h - grad_pool.c's inner loops, once for each instruction set (simd.h, wide.h): one image's chunk
 * of channels. No include guard. */
#undef UNROLL
#if defined(__clang__) /* sees it by itself, and complains where sizes are not known */
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 4")
#endif

SIMD_INLINE void SIMD(load_some)(wf *v, const float *p, int64_t m, const bool full) {
    if (full) {
        *v = W_AT(p);
        return;
    }
    *v = (wf){0};
    memcpy(v, p, (size_t)m * sizeof(float));
}

SIMD_INLINE void SIMD(store_some)(float *p, const wf *v, int64_t m, const bool full) {
    if (full)
        W_AT(p) = *v;
    else
        memcpy(p, v, (size_t)m * sizeof(float));
}

SIMD_INLINE void SIMD(clear)(float *p, const pool_job *j, int64_t m, const bool full) {
    const wf none = {0};
    for (int64_t i = 0; i < j->in.s; i++, p += j->in.step) SIMD(store_some)(p, &none, m, full);
}

/* The greatest of a window's places, the first one among equals or among what is no number, gets all of dy. n1, n2: the
 * window's size, known where this is inlined, or 0. */
SIMD_INLINE void SIMD(max_window)(const pool_job *j, const window *w, const float *x, const float *dy, float *dx,
                                  int64_t m, const bool full, const int n1, const int n2) {
    const int64_t step = j->in.step, deep = n1 ? 1 : w->n[0], high = n1 ? n1 : w->n[1], wide = n2 ? n2 : w->n[2];
    wf best, v, g;
    wi which = (wi){0} + (int32_t)w->at;
    SIMD(load_some)(&best, x + w->at * step, m, full);
    for (int64_t d = 0; d < deep; d++)
        UNROLL for (int64_t h = 0; h < high; h++) UNROLL for (int64_t i = 0; i < wide; i++) {
            const int64_t at = w->at + d * w->step[0] + h * w->step[1] + i * w->step[2];
            SIMD(load_some)(&v, x + at * step, m, full);
            const wi more = ~(v <= best) & (best == best);
            best = W_SELECT(more, v, best);
            which = (more & ((wi){0} + (int32_t)at)) | (~more & which);
        }
    SIMD(load_some)(&g, dy, m, full);
    for (int64_t d = 0; d < deep; d++)
        UNROLL for (int64_t h = 0; h < high; h++) UNROLL for (int64_t i = 0; i < wide; i++) {
            const int64_t at = w->at + d * w->step[0] + h * w->step[1] + i * w->step[2];
            SIMD(load_some)(&v, dx + at * step, m, full);
            v += W_KEEP(which == (int32_t)at, g);
            SIMD(store_some)(dx + at * step, &v, m, full);
        }
}

SIMD_INLINE void SIMD(max_lanes)(const pool_job *j, const float *x, const float *dy, float *dx, int64_t m,
                                 const bool full) {
    SIMD(clear)(dx, j, m, full);
    for (int64_t o = 0; o < j->out.s; o++, dy += j->out.step) {
        const window *w = &j->windows[o];
        if (full && w->n[0] == 1 && w->n[1] == 3 && w->n[2] == 3)
            SIMD(max_window)(j, w, x, dy, dx, m, full, 3, 3);
        else if (full && w->n[0] == 1 && w->n[1] == 2 && w->n[2] == 2)
            SIMD(max_window)(j, w, x, dy, dx, m, full, 2, 2);
        else if (w->n[0])
            SIMD(max_window)(j, w, x, dy, dx, m, full, 0, 0);
    }
}

SIMD_INLINE void SIMD(average_lanes)(const pool_job *j, const float *dy, float *dx, int64_t m, const bool full) {
    const int64_t step = j->in.step;
    SIMD(clear)(dx, j, m, full);
    for (int64_t o = 0; o < j->out.s; o++, dy += j->out.step) {
        const window w = j->windows[o];
        wf v, g;
        SIMD(load_some)(&g, dy, m, full);
        g *= 1.0f / (float)(j->with_pads ? w.padded : w.n[0] * w.n[1] * w.n[2]);
        for (int64_t d = 0; d < w.n[0]; d++)
            for (int64_t h = 0; h < w.n[1]; h++) {
                int64_t at = w.at + d * w.step[0] + h * w.step[1];
                for (int64_t i = 0; i < w.n[2]; i++, at += w.step[2]) {
                    SIMD(load_some)(&v, dx + at * step, m, full);
                    v += g;
                    SIMD(store_some)(dx + at * step, &v, m, full);
                }
            }
    }
}

SIMD_FN static void SIMD(plane)(const pool_job *j, const float *x, const float *dy, float *dx, int64_t m) {
    if (x && m == LW)
        SIMD(max_lanes)(j, x, dy, dx, m, true);
    else if (x)
        SIMD(max_lanes)(j, x, dy, dx, m, false);
    else if (m == LW)
        SIMD(average_lanes)(j, dy, dx, m, true);
    else
        SIMD(average_lanes)(j, dy, dx, m, false);
}

/* One image's dy, a channel behind the other, over its maps. */
SIMD_FN static void SIMD(global)(const pool_job *j, const float *dy, float *dx) {
    const dn_planes *p = &j->in;
    const float share = 1.0f / (float)p->s;
    if (p->width == 1) {
        for (int64_t c = 0; c < p->channels; c++, dx += p->step_block)
            for (int64_t s = 0; s < p->s; s++) dx[s] = dy[c] * share;
        return;
    }
    for (int64_t b = 0; b < p->blocks; b++)
        for (int64_t l = 0; l < p->width; l += LW) {
            int64_t first = b * p->width + l, m = p->width - l < LW ? p->width - l : LW, real = p->channels - first;
            if (real > m) real = m;
            wf v = {0};
            if (real > 0) memcpy(&v, dy + first, (size_t)real * sizeof(float));
            v *= share;
            float *to = dx + b * p->step_block + l;
            for (int64_t s = 0; s < p->s; s++, to += p->step) SIMD(store_some)(to, &v, m, m == LW);
        }
}

static const pool_loops SIMD(pool_loops) = {LW, SIMD(plane), SIMD(global)};

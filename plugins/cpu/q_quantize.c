/* cpu/q_quantize.c - QuantizeLinear and DequantizeLinear with one scale, DynamicQuantizeLinear: any layout. */
#include "q_loops.h"
#include "team.h"

#include <math.h>
#include <string.h>

typedef struct quantize {
    const q_loops *loops;
    q_scale q;
    dn_planes planes; /* of a blocked float32 input */
    bool blocked;
    uint64_t n;
} quantize;

typedef struct job {
    const quantize *p;
    const void *x;
    void *y;
} job;

static void to_bytes(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const float *x = j->x;
    uint8_t *y = j->y;
    j->p->loops->quantize(x + begin, y + begin, (int64_t)(end - begin), &j->p->q);
}

/* Channels in blocks: pixels begin..end - 1, whose channels lie together in the output. */
static void blocks_to_bytes(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const dn_planes *g = &j->p->planes;
    for (int64_t at = (int64_t)begin; at < (int64_t)end; at++) {
        const float *x = (const float *)j->x + at / g->s * g->step_n + at % g->s * g->step;
        uint8_t *y = (uint8_t *)j->y + at * g->channels;
        for (int64_t b = 0; b < g->blocks; b++) {
            int64_t n = g->channels - b * g->width;
            if (n > g->width) n = g->width;
            if (n > 0) j->p->loops->quantize(x + b * g->step_block, y + b * g->width, n, &j->p->q);
        }
    }
}

static void to_floats(void *ctx, uint64_t begin, uint64_t end) {
    const job *j = ctx;
    const uint8_t *x = j->x;
    float *y = j->y;
    j->p->loops->dequantize(x + begin, y + begin, (int64_t)(end - begin), &j->p->q);
}

static pare_status quantize_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const quantize *p = k->impl;
    job j = {p, in[0], out[0]};
    if (p->blocked)
        cpu_team_run(k->dev->threads, (uint64_t)(p->planes.n * p->planes.s), (uint64_t)(16384 / p->planes.channels + 1),
                     blocks_to_bytes, &j);
    else
        cpu_team_run(k->dev->threads, p->n, 16384, to_bytes, &j);
    return PARE_OK;
}

static pare_status dequantize_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    (void)scratch;
    const quantize *p = k->impl;
    job j = {p, in[0], out[0]};
    cpu_team_run(k->dev->threads, p->n, 16384, to_floats, &j);
    return PARE_OK;
}

/* Inputs 1 and 2: a scale and a zero point that are known. */
static bool scale_of(const pare_kernel_spec *s, uint32_t dtype, q_scale *q) {
    bool is_signed = dtype == PARE_INT8;
    *q = (q_scale){.is_signed = is_signed, .low = is_signed ? -128 : 0, .high = is_signed ? 127 : 255};
    if (!fast_in(s, 1) || !fast_scalar(s->in[1], &q->scale) || s->in[1]->ndim > 1 ||
        ref_attr_int(s, "block_size", 0) > 0)
        return false;
    if (!(q->scale > 0) || !isfinite(q->scale)) return false;
    if (!fast_in(s, 2)) return true;
    const pare_operand *zero = s->in[2];
    if (zero->dtype != dtype || ref_count(zero) != 1 || !zero->data) return false;
    q->zero = (int32_t)ref_get_int(zero->data, dtype, 0);
    return true;
}

/* Channels last, as a layout of `like`. */
static bool channels_last(const dn_planes *g) { return g->width == g->channels && g->channels > 1; }

pare_status cpu_make_q_quantize(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    bool up = fast_is(s, "DequantizeLinear");
    if ((!up && !fast_is(s, "QuantizeLinear")) || !fast_in(s, 0) || !fast_out(s, 0)) return PARE_EUNSUPPORTED;
    const pare_operand *x = s->in[0], *y = s->out[0];
    quantize p = {.loops = q_loops_best(), .n = ref_count(x)};
    if (!fast_f32(up ? y : x) || !q_eight(up ? x : y) || (up ? x : y)->n_scales > 1 || !fast_same_dims(x, y) ||
        !scale_of(s, up ? x->dtype : y->dtype, &p.q))
        return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    bool own = x->layout.kind == PARE_LAYOUT_OWN;
    if (own) {
        const dn_desc *d = cpu_layout_desc(dev, x->layout.id);
        if (!d || !dn_desc_planes(d, &p.planes)) return PARE_EUNSUPPORTED;
        if (channels_last(&p.planes) && p.planes.step_n == p.planes.s * p.planes.channels)
            p.blocked = false;
        else if (up || p.planes.channels < 2 || p.planes.width < 4)
            return PARE_EUNSUPPORTED;
        else
            p.blocked = true;
    }
    cpu_kernel *k = q_kernel(dev, s, up ? "q:dequantize" : "q:quantize", sizeof p);
    if (!k) return PARE_ENOMEM;
    memcpy(k->impl, &p, sizeof p);
    k->run = up ? dequantize_run : quantize_run;
    bool ok = true;
    if (own) {
        k->in[0] = x->layout;
        ok = q_nhwc(dev, y, &k->out[0]);
    }
    if (ok && q_fits(y, &k->out[0])) {
        *out = k;
        return PARE_OK;
    }
    cpu_kernel_free(k);
    return ok ? PARE_EUNSUPPORTED : PARE_ENOMEM;
}

/* ---- over the range of the data ---- */

enum { CHUNK = 8192 };

typedef struct dynamic_job {
    const quantize *p;
    const float *x;
    float *ends; /* two a chunk */
} dynamic_job;

static void ranges(void *ctx, uint64_t begin, uint64_t end) {
    const dynamic_job *j = ctx;
    for (uint64_t c = begin; c < end; c++) {
        uint64_t at = c * CHUNK, n = j->p->n - at < CHUNK ? j->p->n - at : CHUNK;
        j->p->loops->range(j->x + at, (int64_t)n, &j->ends[2 * c], &j->ends[2 * c + 1]);
    }
}

static pare_status dynamic_run(cpu_kernel *k, const void *const *in, void *const *out, void *scratch) {
    const quantize *p = k->impl;
    uint64_t chunks = (p->n + CHUNK - 1) / CHUNK;
    dynamic_job d = {p, in[0], scratch};
    float low = 0, high = 0;
    cpu_team_run(k->dev->threads, chunks, 2, ranges, &d);
    for (uint64_t c = 0; c < chunks; c++) {
        low = d.ends[2 * c] < low ? d.ends[2 * c] : low;
        high = d.ends[2 * c + 1] > high ? d.ends[2 * c + 1] : high;
    }
    quantize now = *p;
    now.q = (q_scale){.scale = (high - low) / 255, .high = 255};
    if (now.q.scale == 0) now.q.scale = 1; /* all zeros: any scale is right, but 0 divides */
    float zero = rintf(-low / now.q.scale);
    now.q.zero = !(zero > 0) ? 0 : zero > 255 ? 255 : (int32_t)zero;
    job j = {&now, in[0], out[0]};
    cpu_team_run(k->dev->threads, p->n, 16384, to_bytes, &j);
    memcpy(out[1], &now.q.scale, sizeof now.q.scale);
    *(uint8_t *)out[2] = (uint8_t)now.q.zero;
    return PARE_OK;
}

pare_status cpu_make_q_dynamic(cpu_device *dev, const pare_kernel_spec *s, uint32_t candidate, cpu_kernel **out) {
    if (!fast_is(s, "DynamicQuantizeLinear") || !fast_in(s, 0) || s->n_out != 3 || !fast_f32(s->in[0]))
        return PARE_EUNSUPPORTED;
    for (uint32_t i = 0; i < 3; i++)
        if (!fast_out(s, i) || s->out[i]->layout.kind == PARE_LAYOUT_OWN) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    cpu_kernel *k = q_kernel(dev, s, "q:dynamic_quantize", sizeof(quantize));
    if (!k) return PARE_ENOMEM;
    *(quantize *)k->impl = (quantize){.loops = q_loops_best(), .n = ref_count(s->in[0])};
    k->run = dynamic_run;
    k->scratch = (ref_count(s->in[0]) + CHUNK - 1) / CHUNK * 2 * sizeof(float);
    *out = k;
    return PARE_OK;
}

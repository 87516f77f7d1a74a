/* far.c - see far.h. */
#define _DEFAULT_SOURCE
#include "far.h"

#include "ref/ref_quantized.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

far_control far_ctl;

static void say_nothing(const pare_host *h, const pare_diag *d) { (void)h, (void)d; }
const pare_host far_host = {.size = sizeof(pare_host), .name = "tests", .version = "0", .report = say_nothing};

/* ---- devices ---- */

enum { REGION = 1 << 28, ALIGN = 64, OWN_REVERSED = 7, OWN_PACKED = 9, KEY = 0x5a };

typedef struct block {
    uint64_t at, bytes;
} block;

typedef struct job {
    struct kernel *kernel; /* NULL: a copy or fill */
    const void **in;
    void **out;
    void *scratch;
    void *dst;
    const void *src; /* NULL: fill */
    uint64_t bytes;
    int value;
} job;

typedef struct device {
    bool far;
    unsigned char *region;
    block *blocks; /* by address */
    size_t n_blocks;
    uint64_t cap, used;
    job *jobs;
    size_t n_jobs;
} device;

typedef struct kernel {
    device *dev;
    const ref_op *op;
    pare_kernel_spec spec; /* deep enough a copy */
    pare_operand *operands;
    pare_layout *in, *out;
    uint64_t *pack;
    uint32_t n_in, n_own; /* with and without operands of post-ops */
    pare_post_op post[8];
    uint32_t n_post;
    bool reversed, reorder;
    int32_t in_place;
    uint64_t scratch;
    void *keep[256];
    size_t n_keep;
} kernel;

static void *keep(kernel *k, const void *p, size_t n) {
    void *c = n < REGION ? malloc(n ? n : 1) : NULL;
    if (!c || k->n_keep == sizeof k->keep / sizeof *k->keep) abort();
    if (p && n) memcpy(c, p, n);
    return k->keep[k->n_keep++] = c;
}

static uint32_t count_one(const pare_host *h) {
    (void)h;
    return 1;
}

static pare_status dev_open(bool far, const pare_device_opts *o, void **out) {
    device *d = calloc(1, sizeof *d);
    d->far = far;
    d->cap = o->memory;
    if (far) {
        d->region = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (d->region == MAP_FAILED) abort();
        far_ctl.region = d->region;
    }
    *out = d;
    return PARE_OK;
}
static pare_status far_open(const pare_host *h, const pare_device_opts *o, void **out) {
    (void)h;
    return dev_open(true, o, out);
}
static pare_status near_open(const pare_host *h, const pare_device_opts *o, void **out) {
    (void)h;
    return dev_open(false, o, out);
}

static void job_free(job *j) {
    free(j->in);
    free(j->out);
}

static void dev_close(void *p) {
    device *d = p;
    for (size_t i = 0; i < d->n_jobs; i++) job_free(&d->jobs[i]);
    if (d->far) munmap(d->region, REGION);
    free(d->jobs);
    free(d->blocks);
    free(d);
}

static const char *dev_describe(void *p) { return ((device *)p)->far ? "far, plain C" : "near, plain C"; }

static bool inside(const device *d, const void *p) {
    return (const unsigned char *)p >= d->region && (const unsigned char *)p < d->region + REGION;
}

static pare_status dev_alloc(void *p, uint64_t bytes, void **out) {
    device *d = p;
    uint64_t need = (bytes + ALIGN - 1) / ALIGN * ALIGN, at = 0;
    if (!d->far) return (*out = aligned_alloc(ALIGN, need ? need : ALIGN)) ? PARE_OK : PARE_ENOMEM;
    far_ctl.allocs++;
    if (far_ctl.fail_at && --far_ctl.fail_at == 0) return PARE_ENOMEM;
    if (d->cap && d->used + bytes > d->cap) return PARE_ENOMEM;
    if (far_ctl.cap && d->used + bytes > far_ctl.cap) return PARE_ENOMEM;
    size_t i = 0;
    for (; i < d->n_blocks && d->blocks[i].at - at < need; i++) at = d->blocks[i].at + d->blocks[i].bytes;
    if (at + need > REGION) return PARE_ENOMEM;
    d->blocks = realloc(d->blocks, (d->n_blocks + 1) * sizeof *d->blocks);
    memmove(d->blocks + i + 1, d->blocks + i, (d->n_blocks - i) * sizeof *d->blocks);
    d->blocks[i] = (block){at, need};
    d->n_blocks++;
    d->used += bytes;
    far_ctl.live++;
    far_ctl.live_bytes += need;
    if (far_ctl.live_bytes > far_ctl.peak_bytes) far_ctl.peak_bytes = far_ctl.live_bytes;
    *out = d->region + at;
    return PARE_OK;
}

static pare_status dev_sync(void *p);

static void dev_free(void *p, void *memory) {
    device *d = p;
    if (!d->far) {
        free(memory);
        return;
    }
    if (dev_sync(d)) far_ctl.wrong++;
    for (size_t i = 0; i < d->n_blocks; i++) {
        if (d->region + d->blocks[i].at != memory) continue;
        d->used -= d->blocks[i].bytes < d->used ? d->blocks[i].bytes : d->used;
        far_ctl.live--;
        far_ctl.live_bytes -= d->blocks[i].bytes;
        memmove(d->blocks + i, d->blocks + i + 1, (--d->n_blocks - i) * sizeof *d->blocks);
        return;
    }
    far_ctl.wrong++;
}

static void push(device *d, job j) {
    d->jobs = realloc(d->jobs, (d->n_jobs + 1) * sizeof *d->jobs);
    d->jobs[d->n_jobs++] = j;
}

static pare_status dev_copy(void *p, void *dst, const void *src, uint64_t bytes, uint32_t kind) {
    device *d = p;
    if (!d->far) {
        memcpy(dst, src, bytes);
        return PARE_OK;
    }
    bool wrong = inside(d, dst) != (kind != PARE_COPY_TO_HOST) || inside(d, src) != (kind != PARE_COPY_TO_DEVICE);
    far_ctl.wrong += wrong;
    if (wrong) return PARE_EINTERNAL;
    push(d, (job){.dst = dst, .src = src, .bytes = bytes});
    return PARE_OK;
}

static pare_status dev_fill(void *p, void *dst, int value, uint64_t bytes) {
    push(p, (job){.dst = dst, .value = value, .bytes = bytes});
    return PARE_OK;
}

/* ---- kernels ---- */

static void reverse(void *dst, const void *src, uint64_t n) {
    const float *s = src;
    float *d = dst;
    for (uint64_t i = 0; i < n; i++) d[i] = s[n - 1 - i];
}

static uint64_t count_of(const pare_operand *o) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < o->ndim; i++) n *= (uint64_t)o->dims[i];
    return n;
}

static void post_ops(const kernel *k, const void *const *in, float *y, uint64_t n) {
    for (uint32_t p = 0; p < k->n_post; p++) {
        const float *x = k->post[p].kind == PARE_POST_ADD ? in[k->post[p].operand] : NULL;
        for (uint64_t i = 0; i < n; i++) y[i] = x ? y[i] + x[n - 1 - i] : y[i] > 0 ? y[i] : 0;
    }
}

/* Conv in the reversed layout: back to plain in scratch, the plain C kernel, reversed again. */
static pare_status run_conv(const kernel *k, const void *const *in, void *const *out, char *scratch) {
    uint64_t n_x = count_of(k->spec.in[0]), n_w = count_of(k->spec.in[1]), n_y = count_of(k->spec.out[0]);
    float *x = (float *)scratch, *w = x + (n_x + 15) / 16 * 16, *y = w + (n_w + 15) / 16 * 16;
    const void *ins[8] = {NULL};
    void *outs[1] = {y};
    memcpy(ins, in, k->n_own * sizeof *ins);
    reverse(x, in[0], n_x);
    memcpy(w, in[1], n_w * 4);
    if (k->pack[1])
        for (uint64_t i = 0; i < n_w * 4; i++) ((unsigned char *)w)[i] ^= KEY;
    ins[0] = x;
    ins[1] = w;
    const ref_call call = {&k->spec, ins, outs};
    pare_status st = k->op->run(&call);
    post_ops(k, in, y, n_y);
    if (!st) reverse(out[0], y, n_y);
    return st;
}

static pare_status run_now(const kernel *k, const void *const *in, void *const *out, void *scratch) {
    if (k->reorder) {
        const pare_operand *a = k->spec.in[0];
        if (k->in[0].kind == k->out[0].kind)
            memcpy(out[0], in[0], count_of(a) * 4);
        else
            reverse(out[0], in[0], count_of(a));
        return PARE_OK;
    }
    if (k->reversed) return run_conv(k, in, out, scratch);
    const ref_call call = {&k->spec, in, out};
    return k->op->run(&call);
}

static pare_status dev_sync(void *p) {
    device *d = p;
    pare_status st = PARE_OK;
    if (!d->n_jobs) return PARE_OK;
    if (d->far) mprotect(d->region, REGION, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < d->n_jobs; i++) {
        job *j = &d->jobs[i];
        if (j->kernel && !st)
            st = far_ctl.fail_run && --far_ctl.fail_run == 0 ? PARE_EIO : run_now(j->kernel, j->in, j->out, j->scratch);
        else if (!j->kernel && j->src)
            memcpy(j->dst, j->src, j->bytes);
        else if (!j->kernel)
            memset(j->dst, j->value, j->bytes);
        job_free(j);
    }
    d->n_jobs = 0;
    if (d->far) mprotect(d->region, REGION, PROT_NONE);
    return st;
}

static pare_status kernel_run(void *p, const void *const *in, void *const *out, void *scratch) {
    kernel *k = p;
    if (!k->dev->far) return run_now(k, in, out, scratch);
    far_ctl.runs++;
    far_ctl.reorders += k->reorder;
    for (uint32_t i = 0; i < k->n_in; i++)
        if (in[i] && inside(k->dev, in[i]) == ((k->operands[i].flags & PARE_OPERAND_HOST) != 0)) far_ctl.wrong++;
    for (uint32_t i = 0; i < k->spec.n_out; i++)
        if (out[i] && !inside(k->dev, out[i])) far_ctl.wrong++;
    if (far_ctl.wrong) return PARE_EINTERNAL;
    job j = {.kernel = k, .scratch = scratch};
    j.in = malloc((k->n_in + 1) * sizeof *j.in);
    j.out = malloc((k->spec.n_out + 1) * sizeof *j.out);
    memcpy(j.in, in, k->n_in * sizeof *in);
    memcpy(j.out, out, k->spec.n_out * sizeof *out);
    push(k->dev, j);
    return PARE_OK;
}

static void kernel_free(void *p) {
    kernel *k = p;
    if (dev_sync(k->dev)) far_ctl.wrong++;
    for (size_t i = 0; i < k->n_keep; i++) free(k->keep[i]);
    free(k);
}

/* ---- the spec, copied ---- */

static void copy_operand(kernel *k, const pare_operand *o, pare_operand *to) {
    *to = *o;
    if (o->flags & PARE_OPERAND_ABSENT && !o->dims) return; /* some ops look at an absent one's dims */
    to->dims = keep(k, o->dims, o->ndim * sizeof *o->dims);
    if (o->data) to->data = keep(k, o->data, pare_nbytes(o->dtype, count_of(o)));
    if (o->scale) to->scale = keep(k, o->scale, o->n_scales * sizeof *o->scale);
    if (o->zero_point) to->zero_point = keep(k, o->zero_point, o->n_scales * sizeof *o->zero_point);
}

static void copy_spec(kernel *k, const pare_kernel_spec *s) {
    k->spec = *s;
    k->spec.op_type = keep(k, s->op_type, strlen(s->op_type) + 1);
    k->spec.domain = keep(k, s->domain, strlen(s->domain) + 1);
    k->spec.node = NULL;
    k->operands = keep(k, NULL, (s->n_in + s->n_out + 1) * sizeof *k->operands);
    const pare_operand **ops = keep(k, NULL, (s->n_in + s->n_out + 1) * sizeof *ops);
    for (uint32_t i = 0; i < s->n_in + s->n_out; i++) {
        copy_operand(k, i < s->n_in ? s->in[i] : s->out[i - s->n_in], &k->operands[i]);
        ops[i] = &k->operands[i];
    }
    k->spec.in = ops;
    k->spec.out = ops + s->n_in;
    pare_named_attribute *attrs = keep(k, NULL, (s->n_attrs + 1) * sizeof *attrs);
    const pare_named_attribute **list = keep(k, NULL, (s->n_attrs + 1) * sizeof *list);
    for (uint32_t i = 0; i < s->n_attrs; i++) {
        attrs[i] = *s->attrs[i];
        pare_attribute *v = &attrs[i].value;
        attrs[i].name = keep(k, attrs[i].name, strlen(attrs[i].name) + 1);
        if (v->s) v->s = keep(k, v->s, v->n + 1);
        if (v->ints) v->ints = keep(k, v->ints, v->n * sizeof *v->ints);
        if (v->floats) v->floats = keep(k, v->floats, v->n * sizeof *v->floats);
        if (attrs[i].tensor) {
            pare_operand *t = keep(k, NULL, sizeof *t);
            copy_operand(k, attrs[i].tensor, t);
            attrs[i].tensor = t;
        }
        list[i] = &attrs[i];
    }
    k->spec.attrs = list;
    k->spec.post = NULL;
    k->spec.n_post = 0;
}

static bool is(const pare_kernel_spec *s, const char *op) { return strcmp(s->op_type, op) == 0; }

static bool named(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += len)
        if ((p == list || p[-1] == ' ') && (!p[len] || p[len] == ' ')) return true;
    return false;
}

/* Conv on far, float: layouts, packing, post-ops. */
static void make_reversed(kernel *k, const pare_kernel_spec *s) {
    uint64_t n_x = count_of(s->in[0]), n_w = count_of(s->in[1]), n_y = count_of(s->out[0]);
    k->reversed = true;
    k->in[0] = (pare_layout){.kind = PARE_LAYOUT_OWN, .id = OWN_REVERSED, .nbytes = n_x * 4};
    k->out[0] = (pare_layout){.kind = PARE_LAYOUT_OWN, .id = OWN_REVERSED, .nbytes = n_y * 4};
    k->scratch = (n_x + n_w + n_y + 64) * 4;
    if (s->in[1]->flags & PARE_OPERAND_CONSTANT) {
        k->in[1] = (pare_layout){.kind = PARE_LAYOUT_OWN, .id = OWN_PACKED, .nbytes = n_w * 4 + 128};
        k->pack[1] = k->in[1].nbytes;
    }
    k->n_own = s->n_in < 3 ? s->n_in : 3;
    for (uint32_t i = 0; i < s->n_post && i < 8; i++) {
        const pare_post_op *p = s->post[i];
        if (p->kind != PARE_POST_RELU && p->kind != PARE_POST_ADD) break;
        k->post[k->n_post++] = *p;
        if (p->kind != PARE_POST_ADD) continue;
        k->in[p->operand] = k->out[0];
        k->in_place = (int32_t)p->operand;
    }
    far_ctl.posts += k->n_post;
    k->spec.n_in = k->n_own;
}

static bool quantized(const pare_kernel_spec *s) {
    for (uint32_t i = 0; i < s->n_in; i++)
        if (s->in[i]->n_scales) return true;
    return s->n_out && s->out[0]->n_scales;
}

/* The oracle's row; NULL: none is wanted, or there is none. */
static const ref_op *oracle(const pare_kernel_spec *s) {
    if (!far_ctl.quantized_but || named(far_ctl.quantized_but, s->op_type)) return NULL;
    return ref_quantized_find(s, far_ctl.saturating ? REF_SATURATING : REF_EXACT);
}

static void copy_posts(kernel *k, const pare_kernel_spec *s) {
    const pare_post_op **list = keep(k, NULL, (s->n_post + 1) * sizeof *list);
    for (uint32_t i = 0; i < s->n_post; i++) list[i] = keep(k, s->post[i], sizeof *list[i]);
    k->spec.post = list;
    k->spec.n_post = k->n_post = s->n_post;
    if (far_ctl.most_posts && far_ctl.most_posts < k->n_post) k->n_post = far_ctl.most_posts;
    far_ctl.quantized += k->n_post == s->n_post;
}

static pare_status kernel_make(void *p, const pare_kernel_spec *s, uint32_t candidate, void **out) {
    device *d = p;
    bool reorder = d->far && is(s, "Reorder") && strcmp(s->domain, "ai.pare") == 0;
    bool coded = quantized(s) && !reorder;
    const ref_op *op = reorder ? NULL : coded ? oracle(s) : ref_find(s->domain, s->op_type);
    bool own_in = false;
    for (uint32_t i = 0; i < s->n_in; i++) own_in = own_in || s->in[i]->layout.kind == PARE_LAYOUT_OWN;
    if (!reorder && (!op || (op->supports && !op->supports(s)))) return PARE_EUNSUPPORTED;
    if (d->far && far_ctl.refuse && named(far_ctl.refuse, s->op_type)) return PARE_EUNSUPPORTED;
    if (candidate) return PARE_ENOTFOUND;
    (void)own_in; /* whatever comes, plain is asked for */
    kernel *k = calloc(1, sizeof *k);
    k->dev = d;
    k->op = op;
    k->n_in = k->n_own = s->n_in;
    k->in_place = -1;
    copy_spec(k, s);
    if (coded) copy_posts(k, s);
    k->in = keep(k, NULL, (s->n_in + 1) * sizeof *k->in);
    k->out = keep(k, NULL, (s->n_out + 1) * sizeof *k->out);
    k->pack = keep(k, NULL, (s->n_in + 1) * sizeof *k->pack);
    memset(k->pack, 0, (s->n_in + 1) * sizeof *k->pack);
    memset(k->in, 0, (s->n_in + 1) * sizeof *k->in);
    memset(k->out, 0, (s->n_out + 1) * sizeof *k->out);
    if (reorder) {
        k->reorder = true;
        k->in[0] = s->in[0]->layout;
        k->out[0] = s->out[0]->layout;
    } else if (d->far && !coded && is(s, "Conv") && s->out[0]->dtype == PARE_FLOAT &&
               s->out[0]->layout.kind == PARE_LAYOUT_ANY) {
        make_reversed(k, s);
    }
    if (!reorder && !coded && is(s, "Relu")) k->in_place = 0;
    if (d->far) far_ctl.kernels++; /* near's devices run side by side */
    *out = k;
    return PARE_OK;
}

static pare_status kernel_info(void *p, pare_kernel_info *out) {
    kernel *k = p;
    out->n_post = k->n_post;
    out->name = k->op && k->op->op_type[0] == 'q' ? "ref:quantized"
                : k->reorder                      ? "far:reorder"
                : k->reversed                     ? "far:reversed"
                                                  : "ref";
    out->in = k->in;
    out->out = k->out;
    out->pack = k->pack;
    out->scratch = k->scratch;
    out->in_place = k->in_place;
    out->view = k->op ? k->op->view : 0;
    return PARE_OK;
}

static pare_status kernel_pack(void *p, uint32_t i, const void *src, void *dst) {
    kernel *k = p;
    uint64_t n = count_of(k->spec.in[i]) * 4;
    if (!inside(k->dev, dst) || i != 1) return far_ctl.wrong++, PARE_EINTERNAL;
    far_ctl.packs++;
    mprotect(k->dev->region, REGION, PROT_READ | PROT_WRITE);
    memset((char *)dst + n, 1, 128);
    for (uint64_t b = 0; b < n; b++) ((unsigned char *)dst)[b] = ((const unsigned char *)src)[b] ^ KEY;
    mprotect(k->dev->region, REGION, PROT_NONE);
    return PARE_OK;
}

#define BACKEND(NAME, HOST)                                                                                            \
    const pare_backend NAME##_backend = {.size = sizeof(pare_backend),                                                 \
                                         .host_memory = (HOST),                                                        \
                                         .id = #NAME,                                                                  \
                                         .version = "1",                                                               \
                                         .summary = "for tests",                                                       \
                                         .count = count_one,                                                           \
                                         .open = NAME##_open,                                                          \
                                         .close = dev_close,                                                           \
                                         .describe = dev_describe,                                                     \
                                         .alloc = dev_alloc,                                                           \
                                         .free = dev_free,                                                             \
                                         .copy = dev_copy,                                                             \
                                         .fill = dev_fill,                                                             \
                                         .sync = dev_sync,                                                             \
                                         .kernel = kernel_make,                                                        \
                                         .kernel_info = kernel_info,                                                   \
                                         .kernel_free = kernel_free,                                                   \
                                         .pack = kernel_pack,                                                          \
                                         .run = kernel_run}
BACKEND(far, 0);
BACKEND(near, 1);

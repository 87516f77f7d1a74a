/* plugins/cpu/ref/ref_einsum.c - Einsum: any number of operands, repeated letters, an ellipsis.
 *
 * Every letter becomes a loop; an operand's stride for it is the sum of the strides of the dims it names, so a repeated
 * letter walks the diagonal. May use: ref_b.h, the C library.
 */
#include "ref_b.h"

#include <string.h>

enum { MAX_LABELS = 52 + REF_DIMS, MAX_OPERANDS = 16 };

/* Labels 0..51 are letters, those from 52 the dims of the ellipsis, in broadcast order. */
typedef struct einsum {
    uint32_t n_in;
    int64_t size[MAX_LABELS]; /* -1: not met */
    int64_t stride[MAX_OPERANDS][MAX_LABELS];
    uint32_t ellipsis; /* most dims that an ellipsis stands for */
    uint32_t seen[52]; /* times a letter stands on the left */
    uint8_t out[2 * REF_DIMS];
    uint32_t n_out;
} einsum;

static int label_of(char ch) {
    if (ch >= 'A' && ch <= 'Z') return ch - 'A';
    if (ch >= 'a' && ch <= 'z') return ch - 'a' + 26;
    return -1;
}

static bool is_letter(char ch) { return label_of(ch) >= 0; }

/* Reads one term (up to ',' or '-' or the end); counts letters, notes the ellipsis. NULL: no term. */
static const char *measure(const char *t, uint32_t *letters, bool *ellipsis) {
    *letters = 0;
    *ellipsis = false;
    for (; *t && *t != ',' && *t != '-'; t++) {
        if (*t == ' ') continue;
        if (is_letter(*t)) {
            ++*letters;
        } else if (!strncmp(t, "...", 3) && !*ellipsis) {
            *ellipsis = true;
            t += 2;
        } else {
            return NULL;
        }
    }
    return t;
}

/* Ties dim `dim` of operand `in` to a label. */
static bool tie(einsum *e, uint32_t in, uint32_t label, int64_t size, int64_t stride) {
    int64_t *have = &e->size[label];
    if (*have == -1 || *have == 1)
        *have = size;
    else if (size != 1 && size != *have)
        return false;
    if (size != 1) e->stride[in][label] += stride;
    return true;
}

static const char *read_term(einsum *e, uint32_t in, const pare_operand *o, const char *t) {
    uint32_t letters, dim = 0;
    bool ellipsis;
    int64_t strides[REF_DIMS];
    const char *end = measure(t, &letters, &ellipsis);
    if (!end || letters > o->ndim || (!ellipsis && letters != o->ndim)) return NULL;
    refb_strides(o->dims, o->ndim, strides);
    for (; t < end; t++) {
        if (*t == '.') {
            uint32_t n = o->ndim - letters;
            for (uint32_t i = 0; i < n; i++, dim++)
                if (!tie(e, in, (uint32_t)(52 + REF_DIMS - n + i), o->dims[dim], strides[dim])) return NULL;
            if (n > e->ellipsis) e->ellipsis = n;
            t += 2;
        } else if (is_letter(*t)) {
            uint32_t label = (uint32_t)label_of(*t);
            e->seen[label]++;
            if (!tie(e, in, label, o->dims[dim], strides[dim])) return NULL;
            dim++;
        }
    }
    return end;
}

static bool put(einsum *e, uint32_t label) {
    if (e->n_out == REF_DIMS || e->size[label] < 0) return false;
    for (uint32_t i = 0; i < e->n_out; i++)
        if (e->out[i] == label) return false;
    e->out[e->n_out++] = (uint8_t)label;
    return true;
}

static bool put_ellipsis(einsum *e) {
    for (uint32_t i = 0; i < e->ellipsis; i++)
        if (!put(e, 52 + REF_DIMS - e->ellipsis + i)) return false;
    return true;
}

static bool read_output(einsum *e, const char *t) {
    if (!*t) { /* left out: the ellipsis, then letters that stand once, in the order of the alphabet */
        if (!put_ellipsis(e)) return false;
        for (uint32_t l = 0; l < 52; l++)
            if (e->seen[l] == 1 && !put(e, l)) return false;
        return true;
    }
    if (t[0] != '-' || t[1] != '>') return false;
    for (t += 2; *t; t++) {
        if (*t == ' ') continue;
        if (!strncmp(t, "...", 3)) {
            if (!put_ellipsis(e)) return false;
            t += 2;
        } else if (!is_letter(*t) || !put(e, (uint32_t)label_of(*t))) {
            return false;
        }
    }
    return true;
}

static bool parse(einsum *e, const pare_kernel_spec *s, const char *equation) {
    const char *t = equation;
    memset(e, 0, sizeof *e);
    for (uint32_t i = 0; i < MAX_LABELS; i++) e->size[i] = -1;
    e->n_in = s->n_in;
    for (uint32_t i = 0; i < s->n_in; i++) {
        if (i && *t++ != ',') return false;
        if (!(t = read_term(e, i, s->in[i], t))) return false;
    }
    if (*t == ',' || !read_output(e, t)) return false;
    const pare_operand *y = s->out[0];
    if (y->ndim != e->n_out) return false;
    for (uint32_t i = 0; i < e->n_out; i++)
        if (y->dims[i] != e->size[e->out[i]]) return false;
    return true;
}

/* The offset that a position gives in operand `in`. */
static int64_t offset(const einsum *e, uint32_t in, const uint8_t *labels, const int64_t *pos, uint32_t n) {
    int64_t at = 0;
    for (uint32_t i = 0; i < n; i++) at += pos[i] * e->stride[in][labels[i]];
    return at;
}

pare_status ref_einsum(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_attribute *equation = ref_attr(s, "equation");
    uint8_t summed[MAX_LABELS];
    int64_t sizes[MAX_LABELS], pos[REF_DIMS] = {0};
    uint32_t n_summed = 0;
    uint64_t o = 0;
    einsum e;
    if (!refb_ok(c, 1, 1) || s->n_in > MAX_OPERANDS || !equation || !equation->s) return PARE_EINVAL;
    for (uint32_t i = 0; i < s->n_in; i++)
        if (!ref_has(s, i)) return PARE_EINVAL;
    if (!parse(&e, s, equation->s)) return PARE_EINVAL;
    for (uint32_t l = 0; l < MAX_LABELS; l++)
        if (e.size[l] >= 0 && !memchr(e.out, (int)l, e.n_out)) {
            sizes[n_summed] = e.size[l];
            summed[n_summed++] = (uint8_t)l;
        }
    const pare_operand *y = s->out[0];
    bool ints = ref_is_int(y->dtype), empty = !refb_product(sizes, n_summed);
    if (!ref_count(y)) return PARE_OK;
    do {
        int64_t start[MAX_OPERANDS], at[MAX_LABELS] = {0};
        double sum = 0;
        uint64_t exact = 0;
        for (uint32_t i = 0; i < s->n_in; i++) start[i] = offset(&e, i, e.out, pos, e.n_out);
        if (!empty) {
            do {
                double v = 1;
                uint64_t w = 1;
                for (uint32_t i = 0; i < s->n_in; i++) {
                    uint64_t from = (uint64_t)(start[i] + offset(&e, i, summed, at, n_summed));
                    if (ints)
                        w *= (uint64_t)ref_get_int(c->in[i], s->in[i]->dtype, from);
                    else
                        v *= ref_get(c->in[i], s->in[i]->dtype, from);
                }
                sum += v;
                exact += w;
            } while (n_summed && ref_next(at, sizes, n_summed));
        }
        if (ints)
            ref_set_int(c->out[0], y->dtype, o++, (int64_t)exact);
        else
            ref_set(c->out[0], y->dtype, o++, sum);
    } while (e.n_out && ref_next(pos, y->dims, y->ndim));
    return PARE_OK;
}

/* plugins/cpu/ref/ref_elementwise.c - two and more inputs, broadcast: arithmetic, comparison, logic, Where, Clip.
 *
 * float32 arithmetic runs in float (one rounding); float16 and the like in double, rounded once. Integers are exact and
 * wrap; division by zero gives 0. Is not: Cast (ref_cast.c), one input (ref_unary.c). May use: ref.h.
 */
#include "ref_rows.h"

#include <math.h>
#include <string.h>

/* ---- integers ---- */

enum {
    ADD,
    SUB,
    MUL,
    DIV,
    POW,
    MOD,
    PRELU,
    MAX,
    MIN,
    BIT_AND,
    BIT_OR,
    BIT_XOR,
    SHIFT_LEFT,
    SHIFT_RIGHT,
    EQ,
    GT,
    GE,
    LT,
    LE,
    AND,
    OR,
    XOR
};

static uint64_t power(uint64_t base, uint64_t exponent) {
    uint64_t r = 1;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1) r *= base;
    return r;
}

/* Truncated, as C and ONNX have it. */
static uint64_t divide(uint64_t a, uint64_t b, bool is_signed) {
    if (!b) return 0;
    if (!is_signed) return a / b;
    return b == UINT64_MAX ? 0 - a : (uint64_t)((int64_t)a / (int64_t)b);
}

/* floored: the result has the divisor's sign, as in Python; else the dividend's, as in C. */
static uint64_t modulo(uint64_t a, uint64_t b, bool is_signed, bool floored) {
    if (!b || (is_signed && b == UINT64_MAX)) return 0;
    if (!is_signed) return a % b;
    int64_t r = (int64_t)a % (int64_t)b;
    if (floored && r && (r < 0) != ((int64_t)b < 0)) r += (int64_t)b;
    return (uint64_t)r;
}

/* Arithmetic for what is negative; by 64 and more only the sign is left. */
static uint64_t shift_right(uint64_t a, uint64_t b, bool negative) {
    if (!negative) return b < 64 ? a >> b : 0;
    return b < 64 ? ~(~a >> b) : UINT64_MAX;
}

static uint64_t of_ints(int op, uint64_t a, uint64_t b, bool is_signed, bool fmod_) {
    bool less = is_signed ? (int64_t)a < (int64_t)b : a < b;
    switch (op) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case DIV: return divide(a, b, is_signed);
    case POW:
        if (is_signed && (int64_t)b < 0) return a == 1 ? 1 : a == UINT64_MAX ? (b & 1 ? a : 1) : 0;
        return power(a, b);
    case MOD: return modulo(a, b, is_signed, !fmod_);
    case PRELU: return is_signed && (int64_t)a < 0 ? a * b : a;
    case MAX: return less ? b : a;
    case MIN: return less ? a : b;
    case BIT_AND: return a & b;
    case BIT_OR: return a | b;
    case BIT_XOR: return a ^ b;
    case SHIFT_LEFT: return b < 64 ? a << b : 0;
    case SHIFT_RIGHT: return shift_right(a, b, is_signed && (int64_t)a < 0);
    case EQ: return a == b;
    case GT: return !less && a != b;
    case GE: return !less;
    case LT: return less;
    case LE: return less || a == b;
    case AND: return a && b;
    case OR: return a || b;
    default: return !a != !b;
    }
}

/* ---- floats ---- */

static double floored_mod(double a, double b) {
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* Like numpy: NaN wins. */
static double larger(double a, double b) { return a > b || isnan(a) ? a : b; }
static double smaller(double a, double b) { return a < b || isnan(a) ? a : b; }

static double of_floats(int op, double a, double b, bool fmod_) {
    switch (op) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case DIV: return a / b;
    case POW: return b == 2 ? a * a : b == 1 ? a : pow(a, b);
    case MOD: return fmod_ ? fmod(a, b) : floored_mod(a, b);
    case PRELU: return a < 0 ? a * b : a;
    case MAX: return larger(a, b);
    case MIN: return smaller(a, b);
    case EQ: return a == b;
    case GT: return a > b;
    case GE: return a >= b;
    case LT: return a < b;
    case LE: return a <= b;
    case AND: return a != 0 && b != 0;
    case OR: return a != 0 || b != 0;
    default: return (a != 0) != (b != 0);
    }
}

/* Rows of float32: sa and sb are 0 or anything; the three usual pairs get loops of their own to vectorise. */
#define ROW_F32(name, T, expr)                                                                                         \
    static void name(const float *p, int64_t sa, const float *q, int64_t sb, T *y, uint64_t n) {                       \
        if (sa == 1 && sb == 1) {                                                                                      \
            for (uint64_t i = 0; i < n; i++) {                                                                         \
                float a = p[i], b = q[i];                                                                              \
                y[i] = (T)(expr);                                                                                      \
            }                                                                                                          \
        } else if (sa == 1 && !sb) {                                                                                   \
            for (uint64_t i = 0; i < n; i++) {                                                                         \
                float a = p[i], b = q[0];                                                                              \
                y[i] = (T)(expr);                                                                                      \
            }                                                                                                          \
        } else {                                                                                                       \
            for (uint64_t i = 0; i < n; i++) {                                                                         \
                float a = p[(int64_t)i * sa], b = q[(int64_t)i * sb];                                                  \
                y[i] = (T)(expr);                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
ROW_F32(add_row, float, a + b)
ROW_F32(sub_row, float, a - b)
ROW_F32(mul_row, float, a *b)
ROW_F32(div_row, float, a / b)
ROW_F32(prelu_row, float, a < 0 ? a * b : a)
ROW_F32(max_row, float, a > b || a != a ? a : b)
ROW_F32(min_row, float, a < b || a != a ? a : b)
ROW_F32(eq_row, uint8_t, a == b)
ROW_F32(gt_row, uint8_t, a > b)
ROW_F32(ge_row, uint8_t, a >= b)
ROW_F32(lt_row, uint8_t, a < b)
ROW_F32(le_row, uint8_t, a <= b)

/* ---- two inputs ---- */

typedef struct binary {
    const void *a, *b;
    void *y;
    uint32_t ta, tb, ty;
    int op;
    bool ints, is_signed, fmod_;
    void (*to_float)(const float *, int64_t, const float *, int64_t, float *, uint64_t);
    void (*to_bool)(const float *, int64_t, const float *, int64_t, uint8_t *, uint64_t);
} binary;

static void binary_row(void *ctx, uint64_t out_at, const uint64_t *at, const int64_t *stride, uint64_t n) {
    const binary *k = ctx;
    if (k->to_float) {
        k->to_float((const float *)k->a + at[0], stride[0], (const float *)k->b + at[1], stride[1],
                    (float *)k->y + out_at, n);
        return;
    }
    if (k->to_bool) {
        k->to_bool((const float *)k->a + at[0], stride[0], (const float *)k->b + at[1], stride[1],
                   (uint8_t *)k->y + out_at, n);
        return;
    }
    uint64_t i = at[0], j = at[1];
    for (uint64_t o = out_at; o < out_at + n; o++, i += (uint64_t)stride[0], j += (uint64_t)stride[1]) {
        if (k->ints) {
            uint64_t r = of_ints(k->op, (uint64_t)ref_get_int(k->a, k->ta, i), (uint64_t)ref_get_int(k->b, k->tb, j),
                                 k->is_signed, k->fmod_);
            ref_set_int(k->y, k->ty, o, (int64_t)r);
        } else {
            ref_set(k->y, k->ty, o, of_floats(k->op, ref_get(k->a, k->ta, i), ref_get(k->b, k->tb, j), k->fmod_));
        }
    }
}

static bool holds_zero(const void *data, const pare_operand *o) {
    uint64_t n = ref_count(o);
    for (uint64_t i = 0; i < n; i++)
        if (!ref_get_int(data, o->dtype, i)) return true;
    return false;
}

static pare_status run_binary(const ref_call *c, int op, const binary *rows) {
    const pare_operand *const *in = c->spec->in, *out = c->spec->out[0];
    binary k = *rows;
    k.a = c->in[0], k.b = c->in[1], k.y = c->out[0];
    k.ta = in[0]->dtype, k.tb = in[1]->dtype, k.ty = out->dtype, k.op = op;
    k.ints = ref_is_int(k.ta) && ref_is_int(k.tb);
    k.is_signed = pare_dtype_kind(k.ta) == 'i';
    k.fmod_ = ref_attr_int(c->spec, "fmod", 0) != 0;
    if (k.ta != PARE_FLOAT || k.tb != PARE_FLOAT || k.ty != (k.to_bool ? PARE_BOOL : PARE_FLOAT))
        k.to_float = NULL, k.to_bool = NULL;
    ref_walk w;
    pare_status st = ref_walk_init(&w, out, in, 2);
    if (st == PARE_OK && k.ints && (op == DIV || op == MOD) && ref_count(out) && holds_zero(k.b, in[1]))
        return PARE_EINVAL;
    if (st == PARE_OK) ref_walk_run(&w, binary_row, &k);
    return st;
}

static const struct {
    const char *op_type;
    int op;
    binary rows;
} table[] = {
    {"Add", ADD, {.to_float = add_row}},
    {"Sub", SUB, {.to_float = sub_row}},
    {"Mul", MUL, {.to_float = mul_row}},
    {"Div", DIV, {.to_float = div_row}},
    {"Pow", POW, {0}},
    {"Mod", MOD, {0}},
    {"PRelu", PRELU, {.to_float = prelu_row}},
    {"Max", MAX, {.to_float = max_row}},
    {"Min", MIN, {.to_float = min_row}},
    {"Sum", ADD, {.to_float = add_row}},
    {"BitwiseAnd", BIT_AND, {0}},
    {"BitwiseOr", BIT_OR, {0}},
    {"BitwiseXor", BIT_XOR, {0}},
    {"Equal", EQ, {.to_bool = eq_row}},
    {"Greater", GT, {.to_bool = gt_row}},
    {"GreaterOrEqual", GE, {.to_bool = ge_row}},
    {"Less", LT, {.to_bool = lt_row}},
    {"LessOrEqual", LE, {.to_bool = le_row}},
    {"And", AND, {0}},
    {"Or", OR, {0}},
    {"Xor", XOR, {0}},
};

pare_status ref_run_binary(const ref_call *c) {
    static const binary plain = {0};
    const pare_kernel_spec *s = c->spec;
    if (!ref_has(s, 0) || !ref_has(s, 1)) return PARE_EINVAL;
    if (!strcmp(s->op_type, "BitShift"))
        return run_binary(c, ref_attr_is(s, "direction", "", "LEFT") ? SHIFT_LEFT : SHIFT_RIGHT, &plain);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(s->op_type, table[i].op_type)) return run_binary(c, table[i].op, &table[i].rows);
    return PARE_EUNSUPPORTED;
}

/* ---- any number of inputs ---- */

pare_status ref_run_variadic(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const pare_operand *out = s->out[0];
    bool mean = !strcmp(s->op_type, "Mean"), ints = ref_is_int(out->dtype);
    int op = !strcmp(s->op_type, "Max") ? MAX : !strcmp(s->op_type, "Min") ? MIN : ADD;
    if (s->n_in == 2 && !mean) return ref_run_binary(c);
    if (!s->n_in || out->ndim > REF_DIMS) return PARE_EINVAL;
    for (uint32_t k = 0; k < s->n_in; k++) {
        ref_walk w;
        if (!ref_has(s, k) || ref_walk_init(&w, out, &s->in[k], 1) != PARE_OK) return PARE_EINVAL;
    }
    int64_t pos[REF_DIMS] = {0};
    uint64_t n = ref_count(out);
    for (uint64_t i = 0; i < n; i++, ref_next(pos, out->dims, out->ndim)) {
        double x = 0;
        uint64_t v = 0;
        for (uint32_t k = 0; k < s->n_in; k++) {
            const pare_operand *a = s->in[k];
            uint64_t at = ref_broadcast_index(a->dims, a->ndim, pos, out->ndim);
            if (ints) {
                uint64_t b = (uint64_t)ref_get_int(c->in[k], a->dtype, at);
                v = k ? of_ints(op, v, b, pare_dtype_kind(out->dtype) == 'i', false) : b;
            } else {
                double b = ref_get(c->in[k], a->dtype, at);
                x = k ? of_floats(op, x, b, false) : b;
            }
        }
        if (mean) x = (ints ? (double)(int64_t)v : x) / s->n_in;
        if (ints && !mean)
            ref_set_int(c->out[0], out->dtype, i, (int64_t)v);
        else
            ref_set(c->out[0], out->dtype, i, x);
    }
    return PARE_OK;
}

/* ---- Where ---- */

typedef struct where {
    const uint8_t *cond;
    const void *x, *y;
    void *out;
    uint32_t dtype, bytes; /* 0: packed below a byte */
} where;

static void where_row(void *ctx, uint64_t out_at, const uint64_t *at, const int64_t *stride, uint64_t n) {
    const where *k = ctx;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t c = at[0] + i * (uint64_t)stride[0], x = at[1] + i * (uint64_t)stride[1];
        uint64_t y = at[2] + i * (uint64_t)stride[2], o = out_at + i;
        const void *from = k->cond[c] ? k->x : k->y;
        uint64_t j = k->cond[c] ? x : y;
        switch (k->bytes) {
        case 1: ((uint8_t *)k->out)[o] = ((const uint8_t *)from)[j]; break;
        case 2: ((uint16_t *)k->out)[o] = ((const uint16_t *)from)[j]; break;
        case 4: ((uint32_t *)k->out)[o] = ((const uint32_t *)from)[j]; break;
        case 8: ((uint64_t *)k->out)[o] = ((const uint64_t *)from)[j]; break;
        default: ref_set(k->out, k->dtype, o, ref_get(from, k->dtype, j)); break;
        }
    }
}

pare_status ref_run_where(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    if (!ref_has(s, 0) || !ref_has(s, 1) || !ref_has(s, 2)) return PARE_EINVAL;
    if (s->in[1]->dtype != s->out[0]->dtype || s->in[2]->dtype != s->out[0]->dtype) return PARE_EINVAL;
    where k = {c->in[0], c->in[1], c->in[2], c->out[0], s->out[0]->dtype, pare_dtype_bits(s->out[0]->dtype) / 8};
    ref_walk w;
    pare_status st = ref_walk_init(&w, s->out[0], s->in, 3);
    if (st == PARE_OK) ref_walk_run(&w, where_row, &k);
    return st;
}

/* ---- Clip ---- */

pare_status ref_run_clip(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    uint32_t t = s->in[0]->dtype;
    uint64_t n = ref_count(s->out[0]);
    bool low = ref_has(s, 1), high = ref_has(s, 2);
    if (ref_count(s->in[0]) != n || s->out[0]->dtype != t) return PARE_EINVAL;
    if ((low && !ref_count(s->in[1])) || (high && !ref_count(s->in[2]))) return PARE_EINVAL;
    if (ref_is_int(t)) {
        bool is_signed = pare_dtype_kind(t) == 'i';
        uint64_t lo = low ? (uint64_t)ref_get_int(c->in[1], s->in[1]->dtype, 0) : 0;
        uint64_t hi = high ? (uint64_t)ref_get_int(c->in[2], s->in[2]->dtype, 0) : 0;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t v = (uint64_t)ref_get_int(c->in[0], t, i);
            if (low) v = of_ints(MAX, v, lo, is_signed, false);
            if (high) v = of_ints(MIN, v, hi, is_signed, false);
            ref_set_int(c->out[0], t, i, (int64_t)v);
        }
        return PARE_OK;
    }
    /* Before opset 11 the bounds are attributes. */
    double lo = low ? ref_get(c->in[1], s->in[1]->dtype, 0) : ref_attr_float(s, "min", -INFINITY);
    double hi = high ? ref_get(c->in[2], s->in[2]->dtype, 0) : ref_attr_float(s, "max", INFINITY);
    if (t == PARE_FLOAT) {
        const float *x = c->in[0];
        float *y = c->out[0], l = (float)lo, h = (float)hi;
        for (uint64_t i = 0; i < n; i++) {
            float v = x[i] < l ? l : x[i]; /* NaN stays */
            y[i] = v > h ? h : v;
        }
        return PARE_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        double v = ref_get(c->in[0], t, i);
        v = v < lo ? lo : v;
        ref_set(c->out[0], t, i, v > hi ? hi : v);
    }
    return PARE_OK;
}

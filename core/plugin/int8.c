/* plugin/int8.c - see runner.h: would a device run an op of 8-bit operands other than as float?
 *
 * It is asked for a kernel as the engine would ask (pare/backend.h, "Quantized execution"), of a size as networks have
 * it; of MatMulInteger, whose results are scaled at once, for the op that the engine makes of these nodes. Is not: the
 * running of it.
 */
#include "plugin/runner.h"

#include <string.h>

enum { MOST_IN = 6, MOST_DIMS = 4, MOST_ATTRS = 3, CHANNELS = 64 };

/* An op as it is asked for. */
typedef struct shape {
    const char *op_type;
    uint32_t n_in;
    uint32_t ndim[MOST_IN], out_ndim;
    int64_t dims[MOST_IN][MOST_DIMS], out[MOST_DIMS];
    bool weight;   /* the second operand is constant, with a scale for each output channel */
    bool multiply; /* it adds up products: of these, pairs may saturate */
    /* Of plain integers, as dynamic quantization leaves them: the engine asks for this op of ai.pare instead, which
     * takes scales and zero points as operands and gives float32. */
    const char *to_float;
} shape;

static const shape shapes[] = {
    {.op_type = "Conv",
     .n_in = 2,
     .ndim = {4, 4},
     .out_ndim = 4,
     .dims = {{1, CHANNELS, 14, 14}, {CHANNELS, CHANNELS, 3, 3}},
     .out = {1, CHANNELS, 12, 12},
     .weight = true,
     .multiply = true},
    {.op_type = "ConvTranspose",
     .n_in = 2,
     .ndim = {4, 4},
     .out_ndim = 4,
     .dims = {{1, CHANNELS, 14, 14}, {CHANNELS, CHANNELS, 3, 3}},
     .out = {1, CHANNELS, 16, 16},
     .weight = true,
     .multiply = true},
    {.op_type = "Gemm",
     .n_in = 2,
     .ndim = {2, 2},
     .out_ndim = 2,
     .dims = {{8, CHANNELS}, {CHANNELS, CHANNELS}},
     .out = {8, CHANNELS},
     .weight = true,
     .multiply = true},
    {.op_type = "MatMul",
     .n_in = 2,
     .ndim = {2, 2},
     .out_ndim = 2,
     .dims = {{8, CHANNELS}, {CHANNELS, CHANNELS}},
     .out = {8, CHANNELS},
     .weight = true,
     .multiply = true},
    {.op_type = "MatMulInteger",
     .n_in = 2,
     .ndim = {2, 2},
     .out_ndim = 2,
     .dims = {{8, CHANNELS}, {CHANNELS, CHANNELS}},
     .out = {8, CHANNELS},
     .weight = true,
     .multiply = true,
     .to_float = "MatMulIntegerToFloat"},
    {.op_type = "ConvInteger",
     .n_in = 2,
     .ndim = {4, 4},
     .out_ndim = 4,
     .dims = {{1, CHANNELS, 14, 14}, {CHANNELS, CHANNELS, 3, 3}},
     .out = {1, CHANNELS, 12, 12},
     .weight = true,
     .multiply = true,
     .to_float = "ConvIntegerToFloat"},
#define TWO(name)                                                                                                      \
    {                                                                                                                  \
        .op_type = name, .n_in = 2, .ndim = {4, 4}, .out_ndim = 4,                                                     \
        .dims = {{1, CHANNELS, 14, 14}, {1, CHANNELS, 14, 14}}, .out = {                                               \
            1,                                                                                                         \
            CHANNELS,                                                                                                  \
            14,                                                                                                        \
            14                                                                                                         \
        }                                                                                                              \
    }
#define ONE(name)                                                                                                      \
    {                                                                                                                  \
        .op_type = name, .n_in = 1, .ndim = {4}, .out_ndim = 4, .dims = {{1, CHANNELS, 14, 14}}, .out = {              \
            1,                                                                                                         \
            CHANNELS,                                                                                                  \
            14,                                                                                                        \
            14                                                                                                         \
        }                                                                                                              \
    }
    TWO("Add"),
    TWO("Mul"),
    TWO("Sub"),
    ONE("Sigmoid"),
    ONE("LeakyRelu"),
    ONE("HardSwish"),
    ONE("HardSigmoid"),
    ONE("Softmax"),
    {.op_type = "Concat",
     .n_in = 2,
     .ndim = {4, 4},
     .out_ndim = 4,
     .dims = {{1, CHANNELS, 14, 14}, {1, CHANNELS, 14, 14}},
     .out = {1, 2 * CHANNELS, 14, 14}},
    {.op_type = "GlobalAveragePool",
     .n_in = 1,
     .ndim = {4},
     .out_ndim = 4,
     .dims = {{1, CHANNELS, 7, 7}},
     .out = {1, CHANNELS, 1, 1}},
    {.op_type = "AveragePool",
     .n_in = 1,
     .ndim = {4},
     .out_ndim = 4,
     .dims = {{1, CHANNELS, 14, 14}},
     .out = {1, CHANNELS, 7, 7}},
};

/* Everything a spec points to. */
typedef struct asked {
    pare_kernel_spec k;
    pare_operand operand[MOST_IN + 1];
    const pare_operand *in[MOST_IN], *out[1];
    float scale[CHANNELS], one;
    int32_t zero_point, weight_points[CHANNELS];
    uint8_t w_zero; /* to_float: the weights' zero point as it is stored */
    pare_post_op post;
    const pare_post_op *posts[1];
    pare_named_attribute attr[MOST_ATTRS];
    const pare_named_attribute *attrs[MOST_ATTRS];
} asked;

static void add_attr(asked *a, const char *name, pare_attribute v) {
    v.size = sizeof v;
    a->attr[a->k.n_attrs] = (pare_named_attribute){.name = name, .value = v};
    a->attrs[a->k.n_attrs] = &a->attr[a->k.n_attrs];
    a->k.n_attrs++;
}

static void fill_operand(pare_operand *o, uint32_t dtype, uint32_t ndim, const int64_t *dims) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < ndim; i++) n *= (uint64_t)dims[i];
    *o = (pare_operand){.size = sizeof *o, .dtype = dtype, .ndim = ndim, .dims = dims, .axis = -1};
    o->layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = pare_nbytes(dtype, n)};
}

/* Scales and zero points as operands of their own. */
static void fill_to_float(asked *a, uint32_t x_dtype, uint32_t w_dtype) {
    static const int64_t row[] = {CHANNELS};
    fill_operand(&a->operand[2], PARE_FLOAT, 0, row);
    fill_operand(&a->operand[3], PARE_FLOAT, 1, row);
    fill_operand(&a->operand[4], x_dtype, 0, row);
    fill_operand(&a->operand[5], w_dtype, 0, row);
    a->operand[3].data = a->scale;
    a->w_zero = w_dtype == PARE_UINT8 ? 128 : 0;
    a->operand[5].data = &a->w_zero;
    a->operand[3].flags = a->operand[5].flags = PARE_OPERAND_CONSTANT;
    for (uint32_t i = 2; i < MOST_IN; i++) a->in[i] = &a->operand[i];
    a->k.n_in = MOST_IN;
    a->k.domain = "ai.pare";
    a->k.version = 1;
}

/* The same as what the operands are encoded by. */
static void fill_quantized(asked *a, const shape *s, uint32_t x_dtype, uint32_t w_dtype) {
    pare_operand *out = &a->operand[MOST_IN];
    for (uint32_t i = 0; i < s->n_in; i++) {
        pare_operand *o = &a->operand[i];
        bool weight = i && s->weight;
        o->scale = weight ? a->scale : &a->one;
        o->zero_point = weight ? a->weight_points : &a->zero_point;
        o->n_scales = weight ? CHANNELS : 1;
        o->axis = !weight ? -1 : strcmp(s->op_type, "Conv") == 0 ? 0 : 1;
    }
    /* what int8 makes of 0 */
    for (int i = 0; i < CHANNELS; i++) a->weight_points[i] = w_dtype == PARE_UINT8 ? 128 : 0;
    out->scale = &a->one;
    out->n_scales = 1;
    out->zero_point = &a->zero_point;
    a->post = (pare_post_op){.size = sizeof a->post, .kind = PARE_POST_QUANTIZE, .alpha = a->one, .dtype = x_dtype};
    a->posts[0] = &a->post;
    a->k.post = a->posts;
    a->k.n_post = 1;
}

static void fill(asked *a, const shape *s, uint32_t x_dtype, uint32_t w_dtype) {
    enum { INT = 2, INTS = 7 }; /* ONNX's numbers of attribute types */
    static const int64_t two[] = {2, 2};
    *a = (asked){.one = 0.05f, .k = {.size = sizeof a->k, .flags = PARE_SPEC_DETERMINISTIC}};
    for (int i = 0; i < CHANNELS; i++) a->scale[i] = 0.01f;
    a->k.op_type = s->to_float ? s->to_float : s->op_type;
    a->k.domain = "";
    a->k.version = 21;
    a->k.node = "";
    for (uint32_t i = 0; i < s->n_in; i++) {
        fill_operand(&a->operand[i], i ? w_dtype : x_dtype, s->ndim[i], s->dims[i]);
        if (i && s->weight) a->operand[i].flags = PARE_OPERAND_CONSTANT;
        a->in[i] = &a->operand[i];
    }
    fill_operand(&a->operand[MOST_IN], s->to_float ? PARE_FLOAT : x_dtype, s->out_ndim, s->out);
    a->operand[MOST_IN].layout = (pare_layout){.kind = PARE_LAYOUT_ANY};
    a->out[0] = &a->operand[MOST_IN];
    a->k.in = a->in;
    a->k.n_in = s->n_in;
    a->k.out = a->out;
    a->k.n_out = 1;
    a->k.attrs = a->attrs;
    if (strcmp(s->op_type, "Concat") == 0) add_attr(a, "axis", (pare_attribute){.type = INT, .n = 1, .i = 1});
    if (strcmp(s->op_type, "AveragePool") == 0) {
        add_attr(a, "kernel_shape", (pare_attribute){.type = INTS, .n = 2, .ints = two});
        add_attr(a, "strides", (pare_attribute){.type = INTS, .n = 2, .ints = two});
    }
    if (s->to_float)
        fill_to_float(a, x_dtype, w_dtype);
    else
        fill_quantized(a, s, x_dtype, w_dtype);
}

/* Instructions that add up products of 8 bits without saturating, by the names that kernels and devices go by. */
static bool names_exact(const char *text) {
    static const char *const words[] = {"vnni", "amx", "bf16", "dotprod", "i8mm"}; /* bf16 came after vnni */
    for (size_t i = 0; text && i < sizeof words / sizeof *words; i++)
        if (strstr(text, words[i])) return true;
    return false;
}

static pare_status open_device(pare_int8 *q, const pare_compute *c, pare_diags *d) {
    const pare_engine_backend *b = &c->main;
    if (q->device) return PARE_OK;
    pare_device_opts opts = {.size = sizeof opts, .index = c->index, .threads = 1};
    pare_status st = b->backend->open(b->host, &opts, &q->device);
    if (st) return pare_fail(d, st, "run.device", NULL, "the device %s can't be opened", c->device);
    q->backend = b;
    q->exact = names_exact(b->backend->describe(q->device));
    return PARE_OK;
}

void pare_int8_close(pare_int8 *q) {
    if (q->device) q->backend->backend->close(q->device);
    *q = (pare_int8){0};
}

pare_status pare_int8_ask(pare_int8 *q, const pare_compute *c, const char *op_type, uint32_t x_dtype, uint32_t w_dtype,
                          pare_diags *d, uint32_t *fast) {
    const shape *s = NULL;
    *fast = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].op_type, op_type) == 0) s = &shapes[i];
    if (!s || pare_dtype_bits(x_dtype) != 8 || (s->n_in > 1 && pare_dtype_bits(w_dtype) != 8)) return PARE_OK;
    pare_status st = open_device(q, c, d);
    if (st) return st;
    asked a;
    void *kernel = NULL;
    fill(&a, s, x_dtype, w_dtype);
    const pare_backend *b = q->backend->backend;
    if (b->kernel(q->device, &a.k, 0, &kernel)) return PARE_OK; /* it would run as float */
    pare_kernel_info info = {.size = sizeof info};
    st = b->kernel_info(kernel, &info);
    bool exact = q->exact || (!st && names_exact(info.name));
    bool all = !st && info.n_post == a.k.n_post; /* else the result leaves it as float */
    b->kernel_free(kernel);
    if (!st && all) *fast = !s->multiply || exact ? 1 : 2;
    return st;
}

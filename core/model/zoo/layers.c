/* model/zoo/layers.c - see layers.h. */
#include "model/zoo/layers.h"

#include "base/random.h"
#include "model/edit.h"

#include <inttypes.h>
#include <string.h>

const char *const zoo_stems[] = {"imagenet", "small", "cifar", NULL};

static const zoo_act NOTHING = {0, 0, 0, 0};

const char *zoo_name(zoo *z, const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    const char *s = pare_arena_strndup(&z->m->arena, pare_sb_str(&b), b.len);
    pare_sb_free(&b);
    return s;
}

/* ---- beginning and end ---- */

static pare_status too_small(zoo *z, int64_t size, int64_t least, int64_t stem) {
    pare_sb message = {0}, hint = {0};
    pare_sb_printf(&message,
                   "%s with the stem '%s' needs images of at least %" PRId64 "x%" PRId64 ", size is %" PRId64
                   ": smaller maps would shrink to one pixel before the last stride",
                   z->net, zoo_stems[stem], least, least, size);
    pare_sb_printf(&hint, "%s",
                   stem == ZOO_STEM_CIFAR   ? "resize the images in `preprocess`"
                   : stem == ZOO_STEM_SMALL ? "choose `stem: cifar`, which strides less, or resize the images"
                                            : "choose `stem: small` or `stem: cifar`, which stride less");
    pare_diag_item it = {.severity = PARE_ERROR,
                         .code = "zoo.too-small",
                         .message = pare_sb_str(&message),
                         .hint = pare_sb_str(&hint),
                         .param = "size"};
    pare_diags_add(z->d, &it);
    pare_sb_free(&message);
    pare_sb_free(&hint);
    return PARE_EINVAL;
}

zoo_act zoo_begin(zoo *z, const char *net, const pare_arg *args, int64_t strides, uint64_t seed, pare_diags *d) {
    *z = (zoo){.net = net, .seed = seed, .d = d};
    int64_t channels = args[ZOO_CHANNELS].u.i, size = args[ZOO_SIZE].u.i, least = strides / 2 + 1;
    z->m = pare_model_new(net);
    if (size < least) {
        z->st = too_small(z, size, least, args[ZOO_STEM].u.i);
        return NOTHING;
    }
    z->m->producer_name = "pare";
    z->m->producer_version = PARE_VERSION;
    uint32_t v = pare_value_add(z->m, PARE_MAIN_GRAPH, "input");
    pare_dim dims[] = {{-1, "N"}, {channels, NULL}, {size, NULL}, {size, NULL}};
    pare_value_type_set(z->m, v, PARE_FLOAT, 4, dims);
    pare_graph_input_add(z->m, PARE_MAIN_GRAPH, v);
    return (zoo_act){v, channels, size, size};
}

pare_status zoo_end(zoo *z, zoo_act x, pare_model **out) {
    if (!z->st) {
        pare_dim dims[] = {{-1, "N"}, {x.c, NULL}};
        pare_value_type_set(z->m, x.value, PARE_FLOAT, 2, dims);
        pare_graph_output_add(z->m, PARE_MAIN_GRAPH, x.value);
        z->st = pare_model_check(z->m, z->d);
    }
    if (z->st)
        pare_model_free(z->m);
    else
        *out = z->m;
    return z->st;
}

/* ---- initializers ---- */

/* An initializer NAME.PART and its bytes; 0 after a failure. */
static uint32_t param(zoo *z, const char *name, const char *part, size_t ndim, const int64_t *dims, float **data,
                      uint64_t *count) {
    if (z->st) return 0;
    const char *full = zoo_name(z, "%s.%s", name, part);
    uint32_t id = pare_tensor_add(z->m, PARE_MAIN_GRAPH, full, PARE_FLOAT, ndim, dims);
    pare_tensor *t = pare_model_tensor(z->m, id);
    if (!t) {
        z->st = pare_fail(z->d, PARE_ENOMEM, "memory", NULL, "%s: there is no memory for '%s'", z->net, full);
        return 0;
    }
    void *p;
    z->st = pare_tensor_overwrite(t, z->d, &p);
    if (z->st) return 0;
    *data = p;
    *count = t->count;
    return pare_graph_find(z->m, PARE_MAIN_GRAPH, full);
}

static uint32_t param_const(zoo *z, const char *name, const char *part, int64_t n, float value) {
    float *p;
    uint64_t count;
    uint32_t v = param(z, name, part, 1, &n, &p, &count);
    for (uint64_t i = 0; v && i < count; i++) p[i] = value;
    return v;
}

/* The stream of a tensor's numbers is its name: a net's weights don't depend on the layers around them. */
static uint32_t param_normal(zoo *z, const char *name, const char *part, size_t ndim, const int64_t *dims, float std) {
    float *p;
    uint64_t count;
    uint32_t v = param(z, name, part, ndim, dims, &p, &count);
    if (v) pare_random_normal(z->seed, pare_random_stream(zoo_name(z, "%s.%s", name, part)), 0, std, p, count);
    return v;
}

static uint32_t param_uniform(zoo *z, const char *name, const char *part, size_t ndim, const int64_t *dims,
                              float bound) {
    float *p;
    uint64_t count;
    uint32_t v = param(z, name, part, ndim, dims, &p, &count);
    if (v) pare_random_uniform(z->seed, pare_random_stream(zoo_name(z, "%s.%s", name, part)), -bound, bound, p, count);
    return v;
}

/* ---- nodes ---- */

static uint32_t node(zoo *z, const char *op, const char *name, const uint32_t *in, size_t n_in, const char *output,
                     uint32_t *value) {
    uint32_t id = pare_node_add(z->m, PARE_MAIN_GRAPH, 0, op, "", name, in, n_in, &output, 1);
    *value = pare_model_node(z->m, id)->out[0];
    return id;
}

/* A layer of one input that keeps the shape. */
static zoo_act simple(zoo *z, zoo_act x, const char *op, const char *name) {
    if (z->st) return NOTHING;
    node(z, op, name, &x.value, 1, name, &x.value);
    return x;
}

/* A scalar as a Constant node. */
static uint32_t constant(zoo *z, const char *name, float value) {
    uint32_t v;
    uint32_t id = node(z, "Constant", name, NULL, 0, name, &v);
    uint32_t tensor = pare_attr_set_tensor(z->m, id, "value", PARE_FLOAT, 0, NULL);
    void *p;
    if (!tensor) {
        z->st = pare_fail(z->d, PARE_ENOMEM, "memory", NULL, "%s: there is no memory for '%s'", z->net, name);
        return 0;
    }
    z->st = pare_tensor_overwrite(pare_model_tensor(z->m, tensor), z->d, &p);
    if (!z->st) memcpy(p, &value, sizeof value);
    return v;
}

/* Attributes of a window and the map that comes out; zoo_begin has seen to it that there is one. */
static void window(zoo *z, uint32_t id, zoo_act *x, int64_t k, int64_t stride, int64_t pad) {
    int64_t pads[] = {pad, pad, pad, pad}, strides[] = {stride, stride}, kernel[] = {k, k};
    pare_attr_set_ints(z->m, id, "kernel_shape", kernel, 2);
    pare_attr_set_ints(z->m, id, "pads", pads, 4);
    pare_attr_set_ints(z->m, id, "strides", strides, 2);
    x->h = (x->h + 2 * pad - k) / stride + 1;
    x->w = (x->w + 2 * pad - k) / stride + 1;
}

zoo_act zoo_conv(zoo *z, zoo_act x, const char *name, int64_t out, int64_t k, int64_t stride, int64_t pad,
                 int64_t groups) {
    if (z->st) return NOTHING;
    int64_t dims[] = {out, x.c / groups, k, k}, dilations[] = {1, 1};
    float std = (float)pare_sqrt(2.0 / (double)(out * k * k));
    uint32_t in[] = {x.value, param_normal(z, name, "weight", 4, dims, std)};
    if (z->st) return NOTHING;
    uint32_t id = node(z, "Conv", name, in, 2, name, &x.value);
    pare_attr_set_ints(z->m, id, "dilations", dilations, 2);
    pare_attr_set_int(z->m, id, "group", groups);
    window(z, id, &x, k, stride, pad);
    x.c = out;
    return x;
}

zoo_act zoo_batchnorm(zoo *z, zoo_act x, const char *name) {
    if (z->st) return NOTHING;
    uint32_t in[5] = {x.value};
    in[1] = param_const(z, name, "weight", x.c, 1);
    in[2] = param_const(z, name, "bias", x.c, 0);
    in[3] = param_const(z, name, "running_mean", x.c, 0);
    in[4] = param_const(z, name, "running_var", x.c, 1);
    if (z->st) return NOTHING;
    uint32_t id = node(z, "BatchNormalization", name, in, 5, name, &x.value);
    pare_attr_set_float(z->m, id, "epsilon", 1e-5f);
    pare_attr_set_float(z->m, id, "momentum", 0.9f); /* ONNX's share of the old value; PyTorch's momentum is 0.1 */
    return x;
}

zoo_act zoo_relu(zoo *z, zoo_act x, const char *name) { return simple(z, x, "Relu", name); }

zoo_act zoo_relu6(zoo *z, zoo_act x, const char *name) {
    if (z->st) return NOTHING;
    if (!z->clip_min) z->clip_min = constant(z, "relu6.min", 0);
    if (!z->st && !z->clip_max) z->clip_max = constant(z, "relu6.max", 6);
    if (z->st) return NOTHING;
    uint32_t in[] = {x.value, z->clip_min, z->clip_max};
    node(z, "Clip", name, in, 3, name, &x.value);
    return x;
}

zoo_act zoo_maxpool(zoo *z, zoo_act x, const char *name, int64_t k, int64_t stride, int64_t pad) {
    if (z->st) return NOTHING;
    uint32_t id = node(z, "MaxPool", name, &x.value, 1, name, &x.value);
    window(z, id, &x, k, stride, pad);
    return x;
}

zoo_act zoo_global_avgpool(zoo *z, zoo_act x, const char *name) {
    x = simple(z, x, "GlobalAveragePool", name);
    x.h = x.w = 1;
    return x;
}

zoo_act zoo_flatten(zoo *z, zoo_act x, const char *name) {
    if (z->st) return NOTHING;
    uint32_t id = node(z, "Flatten", name, &x.value, 1, name, &x.value);
    pare_attr_set_int(z->m, id, "axis", 1);
    return (zoo_act){x.value, x.c * x.h * x.w, 0, 0};
}

zoo_act zoo_add(zoo *z, zoo_act a, zoo_act b, const char *name) {
    if (z->st) return NOTHING;
    uint32_t in[] = {a.value, b.value};
    node(z, "Add", name, in, 2, name, &a.value);
    return a;
}

zoo_act zoo_dropout(zoo *z, zoo_act x, const char *name, float ratio) {
    if (z->st) return NOTHING;
    uint32_t in[] = {x.value, constant(z, zoo_name(z, "%s.ratio", name), ratio)};
    if (z->st) return NOTHING;
    node(z, "Dropout", name, in, 2, name, &x.value);
    return x;
}

zoo_act zoo_linear(zoo *z, zoo_act x, const char *name, int64_t out, zoo_linear_init init, const char *output) {
    if (z->st) return NOTHING;
    int64_t dims[] = {out, x.c};
    float bound = (float)(1.0 / pare_sqrt((double)x.c));
    uint32_t in[3] = {x.value};
    if (init == ZOO_UNIFORM_FAN_IN) {
        in[1] = param_uniform(z, name, "weight", 2, dims, bound);
        in[2] = param_uniform(z, name, "bias", 1, dims, bound);
    } else {
        in[1] = param_normal(z, name, "weight", 2, dims, 0.01f);
        in[2] = param_const(z, name, "bias", out, 0);
    }
    if (z->st) return NOTHING;
    uint32_t id = node(z, "Gemm", name, in, 3, output, &x.value);
    pare_attr_set_int(z->m, id, "transB", 1);
    x.c = out;
    return x;
}

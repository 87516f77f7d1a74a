/* model/zoo/layers.h - the vocabulary that networks are written in: one function a layer.
 *
 * A layer called "layer1.0.conv1" adds the node of that name, its initializers under PyTorch's names
 * ("layer1.0.conv1.weight") with their initial values, and a value of the same name as its output. The initializers of
 * a zoo model are exactly PyTorch's state dict (without num_batches_tracked), in its order; other constants (the limits
 * of Clip, the ratio of Dropout) are Constant nodes. Shapes are followed as layers are added, N stays open. The first
 * failure is reported and remembered (z->st); after it layers do nothing, so a network is written without checks.
 * Is not: a network (resnet.c, mobilenet.c). May use: zoo.h, edit.h, base/random.h.
 */
#ifndef PARE_MODEL_ZOO_LAYERS_H
#define PARE_MODEL_ZOO_LAYERS_H

#include "model/zoo.h"

#include <stdarg.h>

/* What flows between layers: (N, c, h, w), or (N, c) with h and w 0. */
typedef struct zoo_act {
    uint32_t value;
    int64_t c, h, w;
} zoo_act;

typedef struct zoo {
    const char *net; /* "resnet18", for messages */
    pare_model *m;
    uint64_t seed;
    pare_diags *d;
    pare_status st;
    uint32_t clip_min, clip_max; /* the limits of relu6, made at its first use */
} zoo;

/* ---- parameters that every network has, first in its table and in this order ---- */
enum { ZOO_CLASSES, ZOO_CHANNELS, ZOO_SIZE, ZOO_STEM, ZOO_PARAMS };
enum { ZOO_STEM_IMAGENET, ZOO_STEM_SMALL, ZOO_STEM_CIFAR };
extern const char *const zoo_stems[];
#define ZOO_COMMON_PARAMS(stem_doc)                                                                                    \
    {.size = sizeof(pare_param),                                                                                       \
     .type = PARE_PARAM_INT,                                                                                           \
     .name = "classes",                                                                                                \
     .dflt = "1000",                                                                                                   \
     .min = 1,                                                                                                         \
     .max = 1000000,                                                                                                   \
     .doc = "Width of the output `logits`."},                                                                          \
        {.size = sizeof(pare_param),                                                                                   \
         .type = PARE_PARAM_INT,                                                                                       \
         .name = "channels",                                                                                           \
         .dflt = "3",                                                                                                  \
         .min = 1,                                                                                                     \
         .max = 4096,                                                                                                  \
         .doc = "Channels of the input images."},                                                                      \
        {.size = sizeof(pare_param),                                                                                   \
         .type = PARE_PARAM_INT,                                                                                       \
         .name = "size",                                                                                               \
         .unit = "pixels",                                                                                             \
         .dflt = "224",                                                                                                \
         .min = 1,                                                                                                     \
         .max = 16384,                                                                                                 \
         .doc = "Height and width of the input images."},                                                              \
    {                                                                                                                  \
        .size = sizeof(pare_param), .type = PARE_PARAM_ENUM, .name = "stem", .dflt = "imagenet", .choices = zoo_stems, \
        .doc = (stem_doc)                                                                                              \
    }

/* ---- beginning and end ---- */

/* A model with input `input` (N, channels, size, size). `strides` is the product of all the network's strides: a size
 * that would leave a strided layer a map of one pixel is refused. */
zoo_act zoo_begin(zoo *z, const char *net, const pare_arg *args, int64_t strides, uint64_t seed, pare_diags *d);
/* Makes `x` the output; *out on success. On failure everything is freed. Returns z->st. */
pare_status zoo_end(zoo *z, zoo_act x, pare_model **out);

/* A name from parts, in the model's arena. */
const char *zoo_name(zoo *z, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- layers ---- */

/* w (out, x.c / groups, k, k) without bias: normal, mean 0, std sqrt(2 / (out k k)) (He et al. 2015, fan out). */
zoo_act zoo_conv(zoo *z, zoo_act x, const char *name, int64_t out, int64_t k, int64_t stride, int64_t pad,
                 int64_t groups);
/* weight 1, bias 0, running_mean 0, running_var 1, epsilon 1e-5. */
zoo_act zoo_batchnorm(zoo *z, zoo_act x, const char *name);
zoo_act zoo_relu(zoo *z, zoo_act x, const char *name);
zoo_act zoo_relu6(zoo *z, zoo_act x, const char *name); /* Clip to 0..6 */
zoo_act zoo_maxpool(zoo *z, zoo_act x, const char *name, int64_t k, int64_t stride, int64_t pad);
zoo_act zoo_global_avgpool(zoo *z, zoo_act x, const char *name);
zoo_act zoo_flatten(zoo *z, zoo_act x, const char *name);
zoo_act zoo_add(zoo *z, zoo_act a, zoo_act b, const char *name);
zoo_act zoo_dropout(zoo *z, zoo_act x, const char *name, float ratio); /* identity at inference */

/* How a fully connected layer begins. */
typedef enum {
    ZOO_UNIFORM_FAN_IN, /* weight and bias uniform in +-1/sqrt(in): PyTorch's nn.Linear */
    ZOO_NORMAL_001      /* weight normal with std 0.01, bias 0 */
} zoo_linear_init;
/* weight (out, in), bias (out); its output is called `output` (the network's last layer: "logits"). */
zoo_act zoo_linear(zoo *z, zoo_act x, const char *name, int64_t out, zoo_linear_init init, const char *output);

extern const pare_zoo_net zoo_resnet18, zoo_mobilenet_v2;

#endif

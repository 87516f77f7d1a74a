/* model/zoo/mobilenet.c - MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and
 * linear bottlenecks", CVPR 2018, Table 2, with the tensor names and initial distributions of torchvision's
 * mobilenet_v2. May use: layers.h. */
#include "model/zoo/layers.h"

/* Convolution, batch norm, ReLU6: torchvision's names are 0, 1 and 2 within `name`. */
static zoo_act conv_bn_relu6(zoo *z, zoo_act x, const char *name, int64_t out, int64_t k, int64_t stride,
                             int64_t groups) {
    x = zoo_conv(z, x, zoo_name(z, "%s.0", name), out, k, stride, k / 2, groups);
    x = zoo_batchnorm(z, x, zoo_name(z, "%s.1", name));
    return zoo_relu6(z, x, zoo_name(z, "%s.2", name));
}

/* 1x1 up to `expand` times the channels, 3x3 depthwise, 1x1 down without activation. */
static zoo_act inverted_residual(zoo *z, zoo_act x, const char *name, int64_t out, int64_t stride, int64_t expand) {
    zoo_act y = x;
    int64_t hidden = x.c * expand;
    int i = 0;
    if (expand != 1) y = conv_bn_relu6(z, y, zoo_name(z, "%s.conv.%d", name, i++), hidden, 1, 1, 1);
    y = conv_bn_relu6(z, y, zoo_name(z, "%s.conv.%d", name, i++), hidden, 3, stride, hidden);
    y = zoo_conv(z, y, zoo_name(z, "%s.conv.%d", name, i++), out, 1, 1, 0, 1);
    y = zoo_batchnorm(z, y, zoo_name(z, "%s.conv.%d", name, i));
    if (stride == 1 && x.c == out) y = zoo_add(z, x, y, zoo_name(z, "%s.add", name));
    return y;
}

enum { DROPOUT = ZOO_PARAMS };

static pare_status build_mobilenet_v2(const pare_arg *args, uint64_t seed, pare_diags *d, pare_model **out) {
    static const struct {
        int64_t expand, out, blocks, stride;
    } stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                  {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    int64_t stem = args[ZOO_STEM].u.i;
    int64_t strides = stem == ZOO_STEM_IMAGENET ? 32 : stem == ZOO_STEM_SMALL ? 16 : 8;
    zoo z;
    zoo_act x = zoo_begin(&z, "mobilenet_v2", args, strides, seed, d);
    x = conv_bn_relu6(&z, x, "features.0", 32, 3, stem == ZOO_STEM_IMAGENET ? 2 : 1, 1);
    int feature = 1;
    for (size_t s = 0; s < sizeof stages / sizeof stages[0]; s++)
        for (int64_t block = 0; block < stages[s].blocks; block++) {
            int64_t stride = block ? 1 : stages[s].stride;
            if (stem == ZOO_STEM_CIFAR && stages[s].out == 24) stride = 1;
            x = inverted_residual(&z, x, zoo_name(&z, "features.%d", feature++), stages[s].out, stride,
                                  stages[s].expand);
        }
    x = conv_bn_relu6(&z, x, zoo_name(&z, "features.%d", feature), 1280, 1, 1, 1);
    x = zoo_global_avgpool(&z, x, "avgpool");
    x = zoo_flatten(&z, x, "flatten");
    x = zoo_dropout(&z, x, "classifier.0", (float)args[DROPOUT].u.f);
    x = zoo_linear(&z, x, "classifier.1", args[ZOO_CLASSES].u.i, ZOO_NORMAL_001, "logits");
    return zoo_end(&z, x, out);
}

static const pare_param PARAMS[] = {
    ZOO_COMMON_PARAMS(
        "The first layers: imagenet (as published), small (the first convolution with stride 1), cifar (the "
        "24-channel stage with stride 1 too)."),
    {.size = sizeof(pare_param),
     .type = PARE_PARAM_FLOAT,
     .flags = PARE_PARAM_EXCL_MAX,
     .name = "dropout",
     .unit = "fraction",
     .dflt = "0.2",
     .min = 0,
     .max = 1,
     .doc = "Share of the features that training drops before the classifier."}};

const pare_zoo_net zoo_mobilenet_v2 = {
    .name = "mobilenet_v2",
    .summary = "MobileNetV2 (Sandler et al. 2018), as torchvision has it: 3,504,872 parameters at 1000 classes.",
    .params = PARAMS,
    .n_params = sizeof PARAMS / sizeof PARAMS[0],
    .build = build_mobilenet_v2,
};

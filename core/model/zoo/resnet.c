/* model/zoo/resnet.c - ResNet-18: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016,
 * Table 1, with the tensor names and initial distributions of torchvision's resnet18. May use: layers.h. */
#include "model/zoo/layers.h"

/* Two 3x3 convolutions and a shortcut; a 1x1 convolution on the shortcut where the shape changes. */
static zoo_act basic_block(zoo *z, zoo_act x, const char *name, int64_t out, int64_t stride) {
    zoo_act y = x;
    y = zoo_conv(z, y, zoo_name(z, "%s.conv1", name), out, 3, stride, 1, 1);
    y = zoo_batchnorm(z, y, zoo_name(z, "%s.bn1", name));
    y = zoo_relu(z, y, zoo_name(z, "%s.relu", name));
    y = zoo_conv(z, y, zoo_name(z, "%s.conv2", name), out, 3, 1, 1, 1);
    y = zoo_batchnorm(z, y, zoo_name(z, "%s.bn2", name));
    if (stride != 1 || x.c != out) {
        x = zoo_conv(z, x, zoo_name(z, "%s.downsample.0", name), out, 1, stride, 0, 1);
        x = zoo_batchnorm(z, x, zoo_name(z, "%s.downsample.1", name));
    }
    y = zoo_add(z, y, x, zoo_name(z, "%s.add", name));
    return zoo_relu(z, y, zoo_name(z, "%s.relu_1", name));
}

static pare_status build_resnet18(const pare_arg *args, uint64_t seed, pare_diags *d, pare_model **out) {
    int64_t stem = args[ZOO_STEM].u.i;
    int64_t strides = stem == ZOO_STEM_IMAGENET ? 32 : stem == ZOO_STEM_SMALL ? 16 : 8;
    zoo z;
    zoo_act x = zoo_begin(&z, "resnet18", args, strides, seed, d);
    if (stem == ZOO_STEM_IMAGENET)
        x = zoo_conv(&z, x, "conv1", 64, 7, 2, 3, 1);
    else
        x = zoo_conv(&z, x, "conv1", 64, 3, 1, 1, 1);
    x = zoo_batchnorm(&z, x, "bn1");
    x = zoo_relu(&z, x, "relu");
    if (stem != ZOO_STEM_CIFAR) x = zoo_maxpool(&z, x, "maxpool", 3, 2, 1);
    for (int stage = 0; stage < 4; stage++)
        for (int block = 0; block < 2; block++)
            x = basic_block(&z, x, zoo_name(&z, "layer%d.%d", stage + 1, block), (int64_t)64 << stage,
                            stage && !block ? 2 : 1);
    x = zoo_global_avgpool(&z, x, "avgpool");
    x = zoo_flatten(&z, x, "flatten");
    x = zoo_linear(&z, x, "fc", args[ZOO_CLASSES].u.i, ZOO_UNIFORM_FAN_IN, "logits");
    return zoo_end(&z, x, out);
}

static const pare_param PARAMS[] = {ZOO_COMMON_PARAMS("The first layers: imagenet (7x7 stride 2 and max-pool, as "
                                                      "published), small (3x3 stride 1 and max-pool), cifar (3x3 "
                                                      "stride 1 alone).")};

const pare_zoo_net zoo_resnet18 = {
    .name = "resnet18",
    .summary = "ResNet-18 (He et al. 2016), as torchvision has it: 11,689,512 parameters at 1000 classes.",
    .params = PARAMS,
    .n_params = sizeof PARAMS / sizeof PARAMS[0],
    .build = build_resnet18,
};

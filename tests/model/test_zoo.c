/* tests/model/test_zoo.c - the networks: torchvision's names, shapes and counts, initial weights, stems.
 * That they compute what torchvision's compute is tests/interop/test_zoo.py's to show. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"
#include "model/edit.h"
#include "model/zoo.h"
#include "model/find_tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGENET, SMALL, CIFAR };

static pare_status try_build(const char *name, int64_t classes, int64_t channels, int64_t size, int64_t stem,
                             uint64_t seed, pare_diags *d, pare_model **out) {
    const pare_zoo_net *net = pare_zoo_find(name);
    assert_non_null(net);
    pare_arg args[] = {{.u.i = classes, .n = 1},
                       {.u.i = channels, .n = 1},
                       {.u.i = size, .n = 1},
                       {.u.i = stem, .n = 1},
                       {.u.f = 0.2, .n = 1}};
    assert_true(net->n_params <= sizeof args / sizeof args[0]);
    return net->build(args, seed, d, out);
}

static pare_model *build(const char *name, int64_t classes, int64_t channels, int64_t size, int64_t stem,
                         uint64_t seed) {
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_model *m = NULL;
    assert_int_equal(try_build(name, classes, channels, size, stem, seed, d, &m), PARE_OK);
    assert_int_equal(pare_diags_count(d), 0);
    pare_diags_free(d);
    return m;
}

static const pare_tensor *initializer(const pare_model *m, size_t i) {
    return pare_model_tensor(m, pare_model_graph(m, PARE_MAIN_GRAPH)->initializers.data[i]);
}

static size_t n_initializers(const pare_model *m) { return pare_model_graph(m, PARE_MAIN_GRAPH)->initializers.len; }

static uint64_t parameters(const pare_model *m) {
    uint64_t n = 0;
    for (size_t i = 0; i < n_initializers(m); i++)
        if (!strstr(initializer(m, i)->name, "running_")) n += initializer(m, i)->count;
    return n;
}

static void hash(pare_model *m, char hex[PARE_SHA256_HEX]) {
    pare_sha256 *h = pare_sha256_new();
    for (size_t i = 0; i < n_initializers(m); i++) {
        const pare_tensor *t = initializer(m, i);
        pare_sha256_add(h, t->name, strlen(t->name) + 1);
        pare_sha256_add(h, t->blob->data, t->blob->len);
    }
    pare_sha256_end(h, hex);
}

static const float *floats(pare_model *m, const char *name, uint64_t *n) {
    pare_tensor *t = find_tensor(m, name);
    const void *p = NULL;
    assert_non_null(t);
    assert_int_equal(pare_tensor_read(t, NULL, &p), PARE_OK);
    *n = t->count;
    return p;
}

static void moments(pare_model *m, const char *name, double *mean, double *std, double *most) {
    uint64_t n;
    const float *p = floats(m, name, &n);
    double sum = 0, squares = 0;
    *most = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)p[i];
        squares += (double)p[i] * (double)p[i];
        *most = fmax(*most, fabs((double)p[i]));
    }
    *mean = sum / (double)n;
    *std = sqrt(squares / (double)n - *mean * *mean);
}

/* ---- names, shapes, counts: tests/golden/zoo_*.txt is torchvision's state dict ---- */

static void names_and_shapes(void **state) {
    (void)state;
    static const struct {
        const char *net;
        uint64_t parameters;
        size_t tensors;
    } want[] = {{"resnet18", 11689512, 102}, {"mobilenet_v2", 3504872, 262}};
    for (size_t k = 0; k < 2; k++) {
        pare_model *m = build(want[k].net, 1000, 3, 224, IMAGENET, 1);
        assert_int_equal(parameters(m), want[k].parameters);
        assert_int_equal(n_initializers(m), want[k].tensors);
        char path[4096], line[256];
        snprintf(path, sizeof path, "%s/golden/zoo_%s.txt", PARE_TESTS_DIR, want[k].net);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        for (size_t i = 0; i < want[k].tensors; i++) {
            const pare_tensor *t = initializer(m, i);
            pare_sb got = {0};
            pare_sb_add(&got, t->name);
            for (uint32_t j = 0; j < t->ndim; j++) pare_sb_printf(&got, " %d", (int)t->dims[j]);
            pare_sb_addc(&got, '\n');
            assert_non_null(fgets(line, sizeof line, f));
            assert_string_equal(pare_sb_str(&got), line);
            assert_int_equal(t->dtype, PARE_FLOAT);
            pare_sb_free(&got);
        }
        assert_null(fgets(line, sizeof line, f));
        fclose(f);
        pare_model_free(m);
    }
}

static const pare_node *find_node(const pare_model *m, const char *name) {
    const pare_node *found = NULL;
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && !strcmp(m->nodes.data[i]->name, name)) {
            assert_null(found); /* node names are unique */
            found = m->nodes.data[i];
        }
    return found;
}

static void graph(void **state) {
    (void)state;
    pare_model *m = build("mobilenet_v2", 12, 5, 96, IMAGENET, 1);
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    assert_int_equal(m->ir_version, 8);
    assert_int_equal(pare_model_opset(m, ""), 17);
    assert_int_equal(g->inputs.len, 1);
    assert_int_equal(g->outputs.len, 1);
    const pare_value *in = pare_model_value(m, g->inputs.data[0]), *out = pare_model_value(m, g->outputs.data[0]);
    assert_string_equal(in->name, "input");
    assert_int_equal(in->ndim, 4);
    assert_string_equal(in->dims[0].symbol, "N");
    assert_int_equal(in->dims[1].value, 5);
    assert_int_equal(in->dims[2].value, 96);
    assert_int_equal(in->dims[3].value, 96);
    assert_string_equal(out->name, "logits");
    assert_int_equal(out->ndim, 2);
    assert_string_equal(out->dims[0].symbol, "N");
    assert_int_equal(out->dims[1].value, 12);
    for (size_t i = 0; i < m->nodes.len; i++) find_node(m, m->nodes.data[i]->name);

    const pare_node *n = find_node(m, "classifier.0");
    assert_true(pare_node_is(n, "Dropout"));
    assert_int_equal(n->n_in, 2); /* ratio, no training_mode */
    n = find_node(m, "features.2.conv.1.0");
    assert_true(pare_node_is(n, "Conv"));
    assert_int_equal(pare_node_attr_int(n, "group", 0), 96);
    assert_int_equal(pare_node_attr(n, "strides")->ints[0], 2);
    n = find_node(m, "features.2.conv.1.1");
    assert_true(pare_node_is(n, "BatchNormalization"));
    assert_true(pare_node_attr_float(n, "epsilon", 0) == 1e-5f);
    assert_true(pare_node_attr_float(n, "momentum", 0) == 0.9f);
    assert_true(pare_node_is(find_node(m, "features.2.conv.1.2"), "Clip"));
    assert_int_equal(pare_node_attr_int(find_node(m, "classifier.1"), "transB", 0), 1);
    pare_model_free(m);

    m = build("resnet18", 10, 1, 28, CIFAR, 1);
    assert_null(find_node(m, "maxpool"));
    assert_int_equal(find_node(m, "conv1")->n_in, 2);
    assert_int_equal(find_tensor(m, "conv1.weight")->dims[2], 3);
    assert_int_equal(find_tensor(m, "conv1.weight")->dims[1], 1);
    assert_int_equal(find_tensor(m, "fc.weight")->dims[0], 10);
    pare_model_free(m);
    m = build("resnet18", 10, 1, 28, SMALL, 1);
    assert_non_null(find_node(m, "maxpool"));
    assert_int_equal(pare_node_attr(find_node(m, "conv1"), "strides")->ints[1], 1);
    pare_model_free(m);
}

/* ---- initial weights ---- */

/* The same seed gives these bytes on every machine and with every number of threads. A changed hash means that every
 * run made with an earlier pare starts from other weights: that is a break, not a detail. */
static void golden_hash(void **state) {
    (void)state;
    static const struct {
        const char *net, *sha256;
    } want[] = {
        {"resnet18", "1f7ab1fa787917bfeb34f767cba60c39f00392d08754f86a918e9f6d8985657f"},
        {"mobilenet_v2", "9598ffeaaa7992143589d8f9574f74afa249d2c6ad67b98ac10c730da98bcab4"},
    };
    for (size_t k = 0; k < 2; k++) {
        char hex[PARE_SHA256_HEX];
        pare_model *m = build(want[k].net, 1000, 3, 224, IMAGENET, 7);
        hash(m, hex);
        assert_string_equal(hex, want[k].sha256);
        pare_model_free(m);
    }
}

static void seeds(void **state) {
    (void)state;
    char a[PARE_SHA256_HEX], b[PARE_SHA256_HEX], c[PARE_SHA256_HEX];
    pare_model *m = build("resnet18", 10, 1, 28, SMALL, 3), *same = build("resnet18", 10, 1, 28, SMALL, 3),
               *other = build("resnet18", 10, 1, 28, SMALL, 4), *head = build("resnet18", 20, 1, 28, SMALL, 3);
    hash(m, a);
    hash(same, b);
    hash(other, c);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    /* keyed by name: another head leaves the rest as it was, and two layers of one shape differ */
    uint64_t n, k;
    const float *x = floats(m, "layer4.1.conv2.weight", &n), *y = floats(head, "layer4.1.conv2.weight", &k);
    assert_int_equal(n, k);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_memory_not_equal(x, floats(m, "layer4.1.conv1.weight", &k), 64 * sizeof *x);
    assert_memory_not_equal(x, floats(other, "layer4.1.conv2.weight", &k), 64 * sizeof *x);
    pare_model_free(m);
    pare_model_free(same);
    pare_model_free(other);
    pare_model_free(head);
}

static void all_equal(pare_model *m, const char *name, float want) {
    uint64_t n;
    const float *p = floats(m, name, &n);
    for (uint64_t i = 0; i < n; i++) assert_true(p[i] == want);
}

/* torchvision's: kaiming_normal fan_out for convolutions, nn.Linear's default, normal(0, 0.01) for MobileNetV2's. */
static void distributions(void **state) {
    (void)state;
    double mean, std, most;
    pare_model *m = build("resnet18", 1000, 3, 224, IMAGENET, 1);
    static const struct {
        const char *name;
        double std;
    } convs[] = {{"conv1.weight", 0.025253813613805268},         /* sqrt(2 / (64 * 49)) */
                 {"layer1.0.conv1.weight", 0.05892556509887896}, /* sqrt(2 / (64 * 9)) */
                 {"layer4.0.downsample.0.weight", 0.0625},       /* sqrt(2 / 512) */
                 {"layer4.1.conv2.weight", 0.020833333333333332}};
    for (size_t i = 0; i < sizeof convs / sizeof convs[0]; i++) {
        uint64_t n;
        floats(m, convs[i].name, &n);
        moments(m, convs[i].name, &mean, &std, &most);
        double error = convs[i].std / sqrt((double)n); /* of the mean */
        assert_true(fabs(mean) < 4 * error);
        assert_true(fabs(std - convs[i].std) < 4 * error / sqrt(2));
        assert_true(most > 3 * convs[i].std && most < 7 * convs[i].std);
    }
    double bound = 1 / sqrt(512.0);
    const char *const fc[] = {"fc.weight", "fc.bias"};
    for (size_t i = 0; i < 2; i++) {
        moments(m, fc[i], &mean, &std, &most);
        assert_true(most <= bound && most > 0.98 * bound);
        assert_true(fabs(std - bound / sqrt(3.0)) < 0.05 * bound);
        assert_true(fabs(mean) < 0.1 * bound);
    }
    all_equal(m, "bn1.weight", 1);
    all_equal(m, "bn1.bias", 0);
    all_equal(m, "layer4.1.bn2.running_mean", 0);
    all_equal(m, "layer4.1.bn2.running_var", 1);
    pare_model_free(m);

    m = build("mobilenet_v2", 1000, 3, 224, IMAGENET, 1);
    moments(m, "classifier.1.weight", &mean, &std, &most);
    assert_true(fabs(mean) < 4e-5 && fabs(std - 0.01) < 4e-5);
    all_equal(m, "classifier.1.bias", 0);
    /* depthwise (960, 1, 3, 3): torch counts all output channels, whatever the groups */
    moments(m, "features.17.conv.1.0.weight", &mean, &std, &most);
    assert_true(fabs(std - 0.015214515486254616) < 4e-4); /* sqrt(2 / (960 * 9)) */
    pare_model_free(m);
}

/* ---- what is refused, and the parameter table ---- */

static void too_small(void **state) {
    (void)state;
    static const struct { int64_t stem, least; } stems[] = {{IMAGENET, 17}, {SMALL, 9}, {CIFAR, 5}};
    static const char *const nets[] = {"resnet18", "mobilenet_v2"};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < 3; i++) {
            pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
            pare_model *m = NULL;
            assert_int_equal(try_build(nets[k], 10, 1, stems[i].least - 1, stems[i].stem, 1, d, &m), PARE_EINVAL);
            assert_null(m);
            assert_int_equal(pare_diags_errors(d), 1);
            const pare_diag_item *it = pare_diags_get(d, 0);
            assert_string_equal(it->code, "zoo.too-small");
            assert_string_equal(it->param, "size");
            char at_least[64];
            snprintf(at_least, sizeof at_least, "at least %dx%d", (int)stems[i].least, (int)stems[i].least);
            assert_non_null(strstr(it->message, at_least));
            pare_model_free(build(nets[k], 10, 1, stems[i].least, stems[i].stem, 1));
            pare_diags_free(d);
        }
}

static void tables(void **state) {
    (void)state;
    size_t n;
    const pare_zoo_net *const *all = pare_zoo_all(&n);
    assert_int_equal(n, 2);
    assert_null(pare_zoo_find("resnet19"));
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(pare_zoo_find(all[i]->name), all[i]);
        static const char *const common[] = {"classes", "channels", "size", "stem"};
        for (size_t k = 0; k < all[i]->n_params; k++) {
            const pare_param *p = &all[i]->params[k];
            assert_int_equal(p->size, sizeof *p);
            assert_non_null(p->doc);
            assert_non_null(p->dflt);
            if (k < 4) assert_string_equal(p->name, common[k]);
            if (p->type == PARE_PARAM_ENUM) assert_string_equal(p->choices[IMAGENET], "imagenet");
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_shapes), cmocka_unit_test(graph),
        cmocka_unit_test(golden_hash),      cmocka_unit_test(seeds),
        cmocka_unit_test(distributions),    cmocka_unit_test(too_small),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

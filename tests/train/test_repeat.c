/* The same bytes on every run at two threads, on the cpu backend: reductions have an order. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/tmpdir.h"
#include "data/npy.h"
#include "far/net.h"
#include "model/zoo.h"
#include "train/fit.h"

#include <stdlib.h>

enum { N = 48, CLASSES = 4, SIZE = 32 };

static pare_data *noise(void) {
    const char *images = in_tmp("x.npy"), *labels = in_tmp("y.npy");
    int64_t dims[4] = {N, 1, SIZE, SIZE}, one[1] = {N};
    pare_array *x = net_filled(4, dims, 7), *y = pare_array_new(PARE_INT64, 1, one);
    for (int i = 0; i < N; i++) ((int64_t *)pare_array_data_mut(y))[i] = i * 7 % CLASSES;
    assert_int_equal(pare_npy_write(images, x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(labels, y, NULL), PARE_OK);
    pare_array_unref(x);
    pare_array_unref(y);
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = images, .labels = labels, .shuffle = true, .seed = 11};
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(&src, NULL, NULL, &set), PARE_OK);
    return set;
}

static pare_model *zoo(const char *name) {
    const pare_arg args[] = {
        {.u.i = CLASSES, .n = 1}, {.u.i = 1, .n = 1}, {.u.i = SIZE, .n = 1}, {.u.i = 0, .n = 1}, {.u.f = 0.2, .n = 1}};
    pare_model *m = NULL;
    assert_int_equal(pare_zoo_find(name)->build(args, 3, NULL, &m), PARE_OK);
    return m;
}

/* A hash of every tensor after two steps. */
static void trained(const pare_model *from, const pare_data *set, uint32_t threads, uint32_t micro,
                    char hex[PARE_SHA256_HEX]) {
    pare_session_opts s = net_opts(NET_CPU);
    pare_compute c = {.main = s.backend, .host = s.host_backend, .device = "cpu"};
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_fit_env env = {.compute = &c, .threads = threads, .set = set};
    env.loss.host.diags = d;
    pare_fit_opts o = pare_fit_defaults();
    o.batch = 16;
    o.micro_batch = micro;
    o.epochs = 0;
    o.steps = 2;
    o.clip_norm = 1;
    o.seed = 9;
    pare_fit *f = NULL;
    pare_model *m = pare_model_clone(from);
    assert_int_equal(pare_fit_open(m, &o, &env, 0, d, &f), PARE_OK);
    assert_int_equal(pare_fit_run(f, 0), PARE_OK);
    assert_int_equal(pare_fit_home(f, m), PARE_OK);
    pare_fit_close(f);
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    pare_sha256 *h = pare_sha256_new();
    for (size_t i = 0; i < g->initializers.len; i++) {
        pare_tensor *t = pare_model_tensor(m, g->initializers.data[i]);
        const void *data;
        assert_int_equal(pare_tensor_read(t, NULL, &data), PARE_OK);
        pare_sha256_add(h, data, t->blob ? t->blob->len : 0);
    }
    pare_sha256_end(h, hex);
    pare_model_free(m);
    pare_diags_free(d);
}

static void the_same_bytes(void **state) {
    (void)state;
    static const char *const nets[] = {"resnet18", "mobilenet_v2"};
    pare_data *set = noise();
    for (uint32_t k = 0; k < 2; k++) { /* resnet18 as a whole batch, mobilenet_v2 by micro-batches */
        pare_model *m = zoo(nets[k]);
        char a[PARE_SHA256_HEX], b[PARE_SHA256_HEX];
        trained(m, set, 2, 8 * k, a);
        trained(m, set, 2, 8 * k, b);
        assert_string_equal(a, b);
        pare_model_free(m);
    }
    pare_data_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_bytes)};
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}

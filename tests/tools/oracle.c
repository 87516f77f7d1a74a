/* tests/tools/oracle.c - runs a model on the plain C kernels: tool_oracle HOW MODEL OUT INPUT.npy...
 *
 * HOW: `float` (nothing in 8 bits, nothing fused), `exact` or `saturating` (the oracle of quantized execution). Output
 * i goes to OUT/i.npy; stdout gets a line a node: op, dtype, kernel, and "fell-back" where it ran in floats. Driven by
 * tests/interop/test_int8.py.
 */
#include "data/npy.h"
#include "engine/session.h"
#include "far/far.h"
#include "model/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_status run(pare_session *s, pare_array *const *in, const char *folder, pare_diags *d) {
    size_t n = pare_session_n_outputs(s), n_rows;
    pare_array **out = pare_xcalloc(n + 1, sizeof *out);
    pare_status st = pare_session_run(s, in, d, out);
    for (size_t i = 0; !st && i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%zu.npy", i);
        char *path = pare_path_join(folder, name);
        st = pare_npy_write(path, out[i], d);
        free(path);
    }
    const pare_profile_node *rows;
    n_rows = pare_session_profile(s, &rows);
    for (size_t i = 0; !st && i < n_rows; i++)
        printf("%s %s %s%s\n", rows[i].op_type, rows[i].dtype, rows[i].kernel, rows[i].fell_back ? " fell-back" : "");
    for (size_t i = 0; i < n; i++) pare_array_unref(out[i]);
    free(out);
    return st;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_model *m = NULL;
    pare_session *s = NULL;
    pare_array **in = pare_xcalloc((size_t)argc, sizeof *in);
    bool plain = strcmp(argv[1], "float") == 0;
    far_ctl.quantized_but = plain ? NULL : "";
    far_ctl.saturating = strcmp(argv[1], "saturating") == 0;
    pare_session_opts o = {.backend = {&near_backend, &far_host}, .host_backend = {&near_backend, &far_host}};
    o.threads = 1;
    o.no_passes = plain;
    pare_status st = pare_onnx_read(argv[2], d, &m);
    for (int i = 4; !st && i < argc; i++) st = pare_npy_read(argv[i], d, &in[i - 4]);
    if (!st) st = pare_session_open(m, &o, d, &s);
    if (!st && pare_session_n_inputs(s) != (size_t)argc - 4) st = PARE_EINVAL;
    if (!st) st = run(s, in, argv[3], d);
    pare_session_close(s);
    for (int i = 0; i < argc; i++) pare_array_unref(in[i]);
    free(in);
    pare_model_free(m);
    pare_diags_free(d);
    return st ? 1 : 0;
}

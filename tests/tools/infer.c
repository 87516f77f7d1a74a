/* tests/tools/infer.c - prints what pare infers: for each file named on stdin one JSON line with the dtype and dims of
 * the main graph's values, the model's numbers, and what was reported. Driven by tests/interop/test_infer.py.
 */
#define _POSIX_C_SOURCE 200809L
#include "base/json.h"
#include "model/infer.h"
#include "model/onnx.h"
#include "model/stats.h"

#include <stdlib.h>
#include <string.h>

static json_t *value_json(const pare_value *v) {
    json_t *dims = v->ndim < 0 ? json_null() : json_array();
    for (int32_t i = 0; i < v->ndim; i++) {
        if (v->dims[i].value >= 0)
            json_array_append_new(dims, json_integer(v->dims[i].value));
        else
            json_array_append_new(dims, v->dims[i].symbol ? pare_json_str(v->dims[i].symbol) : json_null());
    }
    return json_pack("[i,o]", (int)v->dtype, dims);
}

static json_t *values_json(const pare_model *m) {
    json_t *all = json_object();
    for (size_t i = 0; i < m->values.len; i++) {
        const pare_value *v = m->values.data[i];
        if (v && v->graph == PARE_MAIN_GRAPH && !v->other_type) json_object_set_new(all, v->name, value_json(v));
    }
    return all;
}

static json_t *messages_json(const pare_diags *d) {
    json_t *all = json_array();
    for (size_t i = 0; i < pare_diags_count(d); i++) {
        const pare_diag_item *it = pare_diags_get(d, i);
        json_t *message = pare_json_str(it->message);
        json_array_append_new(all, json_pack("[s,o]", it->severity == PARE_ERROR ? "error" : "other", message));
    }
    return all;
}

static json_t *one_file(const char *path) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = NULL;
    json_t *j = json_object();
    json_object_set_new(j, "file", pare_json_str(path));
    pare_status st = pare_onnx_read(path, d, &m);
    json_object_set_new(j, "read", json_integer(st));
    if (!st) {
        json_object_set_new(j, "infer", json_integer(pare_model_infer(m, d)));
        json_object_set_new(j, "values", values_json(m));
        pare_model_stats s;
        if (pare_model_stats_of(m, NULL, &s) == PARE_OK) {
            json_object_set_new(j, "stats",
                                json_pack("{s:I,s:I,s:I,s:I}", "parameters", (json_int_t)s.parameters, "nonzero",
                                          (json_int_t)s.nonzero, "macs", (json_int_t)s.macs, "macs_effective",
                                          (json_int_t)s.macs_effective));
            pare_model_stats_free(&s);
        }
    }
    json_object_set_new(j, "messages", messages_json(d));
    pare_model_free(m);
    pare_diags_free(d);
    return j;
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        if (line[n - 1] == '\n') line[n - 1] = 0;
        json_t *j = one_file(line);
        json_dumpf(j, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        json_decref(j);
    }
    free(line);
    return 0;
}

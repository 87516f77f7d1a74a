/* tests/tools/lower.c - lowers ONNX models to the engine's opset and writes them, for tests/interop/test_lower.py.
 *
 * stdin: lines of IN and OUT, separated by a tab. stdout: a JSON line each: {"status": 0, "messages": […]}. Exit 0 when
 * all could be tried.
 */
#include "base/json.h"
#include "engine/lower.h"
#include "model/onnx.h"

#include <stdlib.h>
#include <string.h>

int main(void) {
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *out = strchr(line, '\t');
        if (!out) return 2;
        *out++ = 0;
        pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_model *m = NULL;
        pare_status st = pare_onnx_read(line, d, &m);
        if (!st) st = pare_engine_lower(m, d);
        if (!st) st = pare_onnx_write(m, out, NULL, d);
        json_t *messages = json_array();
        for (size_t i = 0; i < pare_diags_count(d); i++)
            json_array_append_new(messages, pare_json_str(pare_diags_get(d, i)->message));
        json_t *j = json_pack("{s:i,s:o}", "status", (int)st, "messages", messages);
        json_dumpf(j, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        fflush(stdout);
        json_decref(j);
        pare_model_free(m);
        pare_diags_free(d);
    }
    return 0;
}

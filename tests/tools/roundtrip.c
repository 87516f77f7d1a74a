/* tests/tools/roundtrip.c - reads ONNX models and writes them again, for the interop test.
 *
 * stdin: lines of IN and OUT, separated by a tab. stdout: a line each: "ok", or "failed" and the status. Options:
 * --external writes every tensor of 1 byte and more to a data file. Exit 0 when all could be tried.
 */
#include "base/diag.h"
#include "model/onnx.h"

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    pare_onnx_write_opts opts = {0};
    if (argc > 1 && strcmp(argv[1], "--external") == 0)
        opts = (pare_onnx_write_opts){.external = PARE_EXTERNAL_ON, .external_min = 1};
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *out = strchr(line, '\t');
        if (!out) return 2;
        *out++ = 0;
        pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
        pare_model *m = NULL;
        pare_status st = pare_onnx_read(line, d, &m);
        if (!st) st = pare_onnx_write(m, out, &opts, d);
        printf(st ? "failed %d\n" : "ok\n", (int)st);
        pare_model_free(m);
        pare_diags_free(d);
    }
    return 0;
}

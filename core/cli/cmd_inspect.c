/* cli/cmd_inspect.c - pare inspect: a model as a table. */
#include "cli/cli.h"
#include "cli/look.h"
#include "pipeline/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- pieces of text ---- */

static void add_shape(pare_sb *b, uint32_t ndim, const int64_t *dims) {
    pare_sb_addc(b, '(');
    for (uint32_t i = 0; i < ndim; i++) pare_sb_printf(b, "%s%" PRId64, i ? ", " : "", dims[i]);
    pare_sb_addc(b, ')');
}

static void print_edges(const pare_model *m, const char *title, bool outputs) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    size_t n = outputs ? g->outputs.len : g->inputs.len;
    for (size_t i = 0; i < n; i++) {
        const pare_value *v = pare_model_value(m, outputs ? g->outputs.data[i] : g->inputs.data[i]);
        if (!outputs && v->tensor) continue; /* an initializer that is listed as an input too */
        pare_sb b = {0};
        pare_sb_printf(&b, "  %-12s %s", i ? "" : title, v->name);
        if (v->other_type) {
            pare_sb_add(&b, "  (no tensor)");
        } else {
            pare_sb_printf(&b, "  %s", pare_dtype_name(v->dtype));
            if (v->ndim >= 0) pare_sb_add(&b, " (");
            for (int32_t k = 0; k < v->ndim; k++) {
                if (k) pare_sb_add(&b, ", ");
                if (v->dims[k].value >= 0)
                    pare_sb_printf(&b, "%" PRId64, v->dims[k].value);
                else
                    pare_sb_add(&b, v->dims[k].symbol ? v->dims[k].symbol : "?");
            }
            if (v->ndim >= 0) pare_sb_addc(&b, ')');
        }
        pare_put(pare_sb_str(&b));
        putchar('\n');
        pare_sb_free(&b);
    }
}

static void print_count(const char *title, int64_t n, const char *unit) {
    pare_sb b = {0};
    if (n >= 0)
        pare_sb_count(&b, (uint64_t)n);
    else
        pare_sb_add(&b, "unknown: some shapes are not known");
    printf("  %-12s %s%s\n", title, pare_sb_str(&b), n >= 0 ? unit : "");
    pare_sb_free(&b);
}

/* ---- inspect ---- */

static void print_tensors(const pare_look *l) {
    const char *heads[] = {"weight", "layer", "node", "shape", "dtype", ">parameters", ">zeros", ">size"};
    pare_table *t = pare_table_new(heads, 8);
    pare_table_rule(t);
    size_t other = 0;
    for (size_t i = 0; i < l->stats.tensors.len; i++) {
        const pare_tensor_stats *s = &l->stats.tensors.data[i];
        const pare_tensor *x = pare_model_tensor(l->model, s->tensor);
        if (!s->parameters) {
            other++;
            continue;
        }
        pare_sb shape = {0};
        add_shape(&shape, x->ndim, x->dims);
        pare_table_cell(t, "%s", s->name);
        pare_table_cell(t, "%s", s->label);
        pare_table_cell(t, "%s", s->node);
        pare_table_cell(t, "%s", pare_sb_str(&shape));
        pare_table_cell(t, "%s", pare_dtype_name(x->dtype));
        pare_table_cell_count(t, (int64_t)s->parameters, "unknown");
        pare_table_cell(t, "%.2f %%", 100.0 * (double)(s->parameters - s->nonzero) / (double)s->parameters);
        pare_table_cell_bytes(t, (int64_t)s->bytes, "-");
        pare_sb_free(&shape);
    }
    putchar('\n');
    pare_table_print(t, 2, stdout);
    pare_table_free(t);
    if (other)
        printf("  and %zu tensor%s that are no parameters (statistics, shapes, scales)\n", other,
               other == 1 ? "" : "s");
}

static void print_look(const pare_look *l) {
    const pare_model *m = l->model;
    pare_put(l->path);
    putchar('\n');
    pare_sb b = {0};
    pare_sb_bytes(&b, (uint64_t)l->metrics.bytes);
    pare_sb_add(&b, ", gzip -6 ");
    pare_sb_bytes(&b, (uint64_t)l->metrics.gzip_bytes);
    printf("  %-12s %s%s\n", "size", pare_sb_str(&b), l->packed ? " (packed; below are the plain weights)" : "");
    pare_sb_free(&b);
    printf("  %-12s IR %" PRId64, "format", m->ir_version);
    for (size_t i = 0; i < m->opsets.len; i++) {
        printf(", ");
        pare_put(m->opsets.data[i].domain[0] ? m->opsets.data[i].domain : "ai.onnx");
        printf(" opset %" PRId64, m->opsets.data[i].version);
    }
    putchar('\n');
    if (m->producer_name && m->producer_name[0]) {
        printf("  %-12s ", "made by");
        pare_put(m->producer_name);
        putchar(' ');
        pare_put(m->producer_version ? m->producer_version : "");
        putchar('\n');
    }
    print_edges(m, "inputs", false);
    print_edges(m, "outputs", true);
    print_count("parameters", l->metrics.parameters, "");
    print_count("non-zero", l->metrics.nonzero, "");
    print_count("MACs", l->metrics.macs, " at batch 1");
    print_count("  effective", l->metrics.macs_effective, " without those by zero weights");
    printf("  %-12s ", "ops");
    for (size_t i = 0; i < l->stats.ops.len; i++) {
        printf("%s", i ? ", " : "");
        pare_put(l->stats.ops.data[i].op);
        printf(" %" PRIu64, l->stats.ops.data[i].count);
    }
    printf("\n  %-12s ", "dtypes");
    bool any = false;
    for (uint32_t t = 1; t < PARE_DTYPE_COUNT; t++) {
        if (!l->stats.dtypes[t]) continue;
        printf("%s%s %" PRIu64, any ? ", " : "", pare_dtype_name(t), l->stats.dtypes[t]);
        any = true;
    }
    printf("%s\n", any ? "" : "no initializers");
    if (l->stats.tensors.len) print_tensors(l);
}

static pare_status inspect(pare_cli *c) {
    pare_look l;
    pare_status st = pare_look_open(c->args.rest.data[0], c->progress, c->diags, &l);
    if (!st && c->args.json) {
        json_t *j = pare_look_json(&l);
        pare_json_print(j, stdout);
        json_decref(j);
    } else if (!st) {
        print_look(&l);
    }
    pare_look_close(&l);
    return st;
}

static const pare_opt inspect_opts[] = {PARE_OPT_JSON};

const pare_command pare_cmd_inspect = {"inspect",
                                       "MODEL",
                                       1,
                                       1,
                                       "shows what a model holds: ops, shapes, parameters, MACs, zeros, bytes",
                                       "A layer may be named in pipelines by its weight, its node, or its op and "
                                       "number (the columns weight, node, layer).",
                                       inspect_opts,
                                       sizeof inspect_opts / sizeof *inspect_opts,
                                       inspect};

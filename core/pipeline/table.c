/* pipeline/table.c - text tables with aligned columns. See report.h. */
#include "pipeline/report.h"

#include <stdlib.h>
#include <string.h>

struct pare_table {
    size_t columns;
    bool *right;
    PARE_VEC(char *) cells; /* the heads first; a NULL at the start of a row is a rule */
};

pare_table *pare_table_new(const char *const *heads, size_t n) {
    pare_table *t = pare_xcalloc(1, sizeof *t);
    t->columns = n;
    t->right = pare_xcalloc(n, sizeof *t->right);
    for (size_t i = 0; i < n; i++) {
        t->right[i] = heads[i][0] == '>';
        pare_vec_push(&t->cells, pare_xstrdup(heads[i] + t->right[i]));
    }
    return t;
}

void pare_table_cell(pare_table *t, const char *fmt, ...) {
    pare_sb raw = {0}, safe = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&raw, fmt, ap);
    va_end(ap);
    pare_sb_add_safe(&safe, pare_sb_str(&raw), raw.len); /* names come from files */
    pare_vec_push(&t->cells, pare_xstrdup(pare_sb_str(&safe)));
    pare_sb_free(&raw);
    pare_sb_free(&safe);
}

static void cell_number(pare_table *t, int64_t n, const char *none, void (*add)(pare_sb *b, uint64_t n)) {
    pare_sb b = {0};
    if (n >= 0)
        add(&b, (uint64_t)n);
    else
        pare_sb_add(&b, none);
    pare_table_cell(t, "%s", pare_sb_str(&b));
    pare_sb_free(&b);
}

void pare_table_cell_count(pare_table *t, int64_t n, const char *none) { cell_number(t, n, none, pare_sb_count); }
void pare_table_cell_bytes(pare_table *t, int64_t n, const char *none) { cell_number(t, n, none, pare_sb_bytes); }

void pare_table_rule(pare_table *t) {
    for (size_t i = 0; i < t->columns; i++) pare_vec_push(&t->cells, NULL);
}

/* Columns a UTF-8 text takes on a terminal, near enough: code points. */
static size_t width(const char *s) {
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void pare_table_print(const pare_table *t, unsigned indent, FILE *out) {
    size_t *w = pare_xcalloc(t->columns, sizeof *w), total = 0;
    for (size_t i = 0; i < t->cells.len; i++)
        if (t->cells.data[i] && width(t->cells.data[i]) > w[i % t->columns])
            w[i % t->columns] = width(t->cells.data[i]);
    for (size_t i = 0; i < t->columns; i++) total += w[i] + (i ? 2 : 0);
    pare_sb b = {0};
    for (size_t row = 0; row * t->columns < t->cells.len; row++) {
        char *const *cell = t->cells.data + row * t->columns;
        size_t line = b.len;
        pare_sb_printf(&b, "%*s", (int)indent, "");
        if (!cell[0]) {
            for (size_t i = 0; i < total; i++) pare_sb_addc(&b, '-');
        } else {
            for (size_t i = 0; i < t->columns && row * t->columns + i < t->cells.len; i++) {
                size_t pad = w[i] - width(cell[i]);
                if (i) pare_sb_add(&b, "  ");
                if (t->right[i]) pare_sb_printf(&b, "%*s", (int)pad, "");
                pare_sb_add(&b, cell[i]);
                if (!t->right[i]) pare_sb_printf(&b, "%*s", (int)pad, "");
            }
        }
        while (b.len > line && b.data[b.len - 1] == ' ') b.data[--b.len] = 0;
        pare_sb_addc(&b, '\n');
    }
    fputs(pare_sb_str(&b), out);
    pare_sb_free(&b);
    free(w);
}

void pare_table_free(pare_table *t) {
    if (!t) return;
    for (size_t i = 0; i < t->cells.len; i++) free(t->cells.data[i]);
    pare_vec_free(&t->cells);
    free(t->right);
    free(t);
}

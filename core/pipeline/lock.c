/* pipeline/lock.c - see lock.h. */
#include "pipeline/lock.h"

#include "base/os.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* ---- YAML ---- */

/* Would some YAML reader, of 1.1 as well as of 1.2, take these plain characters for anything but a string? */
static bool needs_quotes(const char *s) {
    pare_yaml_node n = {.plain = true, .text = s};
    pare_yaml_retype(&n);
    if (n.kind != PARE_YAML_STRING || strstr(s, "${")) return true;
    static const char *const words[] = {"y", "n", "yes", "no", "on", "off", "=", "<<"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *a = s, *b = words[i];
        while (*a && (*a | 0x20) == (*b | 0x20)) a++, b++;
        if (!*a && !*b) return true;
    }
    /* sexagesimal numbers, dates, 1_000: all that starts like a number and holds nothing but its characters */
    return (*s >= '0' && *s <= '9') ||
           ((*s == '-' || *s == '+' || *s == '.') && s[strspn(s, "+-.0123456789_:eExX")] == 0);
}

static void emit_scalar(yaml_emitter_t *e, const char *s, bool quoted) {
    yaml_event_t ev;
    yaml_scalar_event_initialize(&ev, NULL, NULL, (const yaml_char_t *)s, (int)strlen(s), !quoted, 1,
                                 quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE);
    yaml_emitter_emit(e, &ev);
}

/* The shortest that reads back as the same double, with the '.' that YAML 1.1 wants. */
static void emit_real(yaml_emitter_t *e, double v) {
    char t[40];
    if (!isfinite(v)) {
        emit_scalar(e, isnan(v) ? ".nan" : v < 0 ? "-.inf" : ".inf", false);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(t, sizeof t, "%.*g", digits, v);
        if (strtod(t, NULL) == v) break;
    }
    if (!strchr(t, '.')) {
        char *at = t + strcspn(t, "e");
        memmove(at + 2, at, strlen(at) + 1);
        memcpy(at, ".0", 2);
    }
    emit_scalar(e, t, false);
}

static void emit_node(yaml_emitter_t *e, const json_t *j) {
    yaml_event_t ev;
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        const char *key;
        json_t *value;
        bool empty = json_object_size(j) == 0;
        yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1,
                                            empty ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE);
        yaml_emitter_emit(e, &ev);
        json_object_foreach((json_t *)(uintptr_t)j, key, value) {
            emit_scalar(e, key, needs_quotes(key));
            emit_node(e, value);
        }
        yaml_mapping_end_event_initialize(&ev);
        yaml_emitter_emit(e, &ev);
        break;
    }
    case JSON_ARRAY: {
        bool flat = true; /* [Conv, Gemm] on one line */
        for (size_t i = 0; i < json_array_size(j); i++) {
            const json_t *item = json_array_get(j, i);
            if (json_is_object(item) || json_is_array(item)) flat = false;
        }
        yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1,
                                             flat ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE);
        yaml_emitter_emit(e, &ev);
        for (size_t i = 0; i < json_array_size(j); i++) emit_node(e, json_array_get(j, i));
        yaml_sequence_end_event_initialize(&ev);
        yaml_emitter_emit(e, &ev);
        break;
    }
    case JSON_STRING: emit_scalar(e, json_string_value(j), needs_quotes(json_string_value(j))); break;
    case JSON_INTEGER: {
        char t[32];
        snprintf(t, sizeof t, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
        emit_scalar(e, t, false);
        break;
    }
    case JSON_REAL: emit_real(e, json_real_value(j)); break;
    case JSON_TRUE: emit_scalar(e, "true", false); break;
    case JSON_FALSE: emit_scalar(e, "false", false); break;
    default: emit_scalar(e, "null", false); break;
    }
}

static int append(void *user, unsigned char *data, size_t n) {
    pare_sb_addn(user, (const char *)data, n);
    return 1;
}

void pare_lock_emit(const json_t *j, pare_sb *out) {
    yaml_emitter_t e;
    yaml_event_t ev;
    if (!yaml_emitter_initialize(&e)) return; /* out of memory: the file stays empty, and what reads it says so */
    yaml_emitter_set_output(&e, append, out);
    yaml_emitter_set_unicode(&e, 1);
    yaml_emitter_set_width(&e, -1);
    yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING);
    yaml_emitter_emit(&e, &ev);
    yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1);
    yaml_emitter_emit(&e, &ev);
    emit_node(&e, j);
    yaml_document_end_event_initialize(&ev, 1);
    yaml_emitter_emit(&e, &ev);
    yaml_stream_end_event_initialize(&ev);
    yaml_emitter_emit(&e, &ev);
    yaml_emitter_delete(&e);
}

/* ---- the lock ---- */

static json_t *files_json(const pare_lock_file *f, size_t n) {
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *j = json_object();
        json_object_set_new(j, "name", pare_json_str(f[i].name));
        if (f[i].zoo) json_object_set_new(j, "zoo", pare_json_str(f[i].zoo));
        if (f[i].path) json_object_set_new(j, "path", pare_json_str(f[i].path));
        if (f[i].files) {
            json_object_set_new(j, "files", json_integer((json_int_t)f[i].files));
            json_object_set_new(j, "of", json_string(f[i].contents ? "contents" : "names and sizes"));
        }
        if (f[i].sha256) {
            json_object_set_new(j, "bytes", json_integer((json_int_t)f[i].bytes));
            json_object_set_new(j, "sha256", pare_json_str(f[i].sha256));
        }
        json_array_append_new(all, j);
    }
    return all;
}

static json_t *features_json(const char *s) {
    json_t *all = json_array();
    while (s && *s) {
        size_t n = strcspn(s, ",");
        char *word = pare_xstrndup(s, n);
        if (n) json_array_append_new(all, pare_json_str(word));
        free(word);
        s += n + (s[n] == ',');
    }
    return all;
}

json_t *pare_lock_json(const pare_lock *l) {
    json_t *seeds = json_object(), *plugins = json_array();
    for (size_t i = 0; l->step_seeds && i < l->pipeline->n_steps; i++) {
        char t[24]; /* 64 bits do not fit JSON's and YAML's signed ints: hexadecimal text */
        snprintf(t, sizeof t, "0x%016llx", (unsigned long long)l->step_seeds[i]);
        json_object_set_new(seeds, l->pipeline->steps[i].id, json_string(t));
    }
    for (size_t i = 0; i < l->n_plugins; i++)
        json_array_append_new(plugins, json_pack("{s:o, s:o, s:o}", "id", pare_json_str(l->plugins[i].id), "version",
                                                 pare_json_str(l->plugins[i].version), "sha256",
                                                 pare_json_str(l->plugins[i].sha256)));
    json_t *j = json_object();
    json_object_set_new(j, "lock", json_integer(1));
    json_object_set_new(j, "pare", json_string(PARE_VERSION));
    json_object_set_new(j, "pipeline", pare_pipeline_json(l->pipeline));
    json_object_set_new(j, "step_seeds", seeds);
    json_object_set_new(j, "plugins", plugins);
    json_object_set_new(j, "in", files_json(l->in, l->n_in));
    json_object_set_new(j, "out", files_json(l->out, l->n_out));
    json_object_set_new(
        j, "cpu",
        json_pack("{s:o, s:o}", "model", pare_json_str(l->cpu_model), "features", features_json(l->cpu_features)));
    json_object_set_new(j, "threads", json_integer(l->threads));
    return j;
}

pare_status pare_lock_write(const pare_lock *l, const char *path, pare_diags *d) {
    pare_sb b = {0};
    pare_sb_add(&b, "# What this run was made of. Written by pare; kept so that another run can be held against it.\n");
    json_t *j = pare_lock_json(l);
    pare_lock_emit(j, &b);
    json_decref(j);
    pare_status st = pare_file_write(path, b.data, b.len, d);
    pare_sb_free(&b);
    return st;
}

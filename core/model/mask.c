/* model/mask.c - which tensors are masked: a JSON list of keys under the metadata key ai.pare.masked. See edit.h.
 * A key is a name, or NAME@K. What is there and is no list is somebody else's: it is left alone. */
#include "model/mask.h"

#include "base/json.h"
#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

static const char KEY[] = "ai.pare.masked";

/* ---- keys ---- */

/* Has the graph a constant of this name: an initializer, or what a Constant node defines? */
static bool defines(const pare_model *m, const pare_graph *g, const char *name) {
    uint32_t id;
    if (!g || !pare_map_get(&g->names, name, &id)) return false;
    const pare_value *v = pare_model_value(m, id);
    const pare_node *n = v ? pare_model_node(m, v->producer) : NULL;
    return v && (pare_model_tensor(m, v->tensor) || (n && v->slot == 0 && pare_node_is(n, "Constant")));
}

/* malloc'ed; NULL: the tensor defines no value. */
static char *key_of(const pare_model *m, const pare_tensor *t) {
    const pare_value *v = pare_tensor_value(m, t);
    if (!v) return NULL;
    uint32_t total = 0, place = 0;
    for (size_t i = 0; i < m->graphs.len; i++) {
        if (!defines(m, m->graphs.data[i], v->name)) continue;
        total++;
        if (i + 1 == v->graph) place = total;
    }
    if (total < 2) return pare_xstrdup(v->name);
    pare_sb b = {0};
    pare_sb_printf(&b, "%s@%u", v->name, place);
    return b.data;
}

/* ---- the list ---- */

/* As it stands in the metadata, parsed once for as long as nobody changes it. NULL: no such entry, or no list.
 * Borrowed. Metadata values are never written over, so the same pointer is the same text. */
static json_t *masked_list(pare_model *m) {
    const char *text = pare_model_meta(m, KEY);
    if (text == m->masks_text) return m->masks;
    pare_mask_forget(m);
    json_t *list = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_array(list))
        m->masks = list;
    else
        json_decref(list);
    m->masks_text = text;
    return m->masks;
}

static void list_write(pare_model *m, json_t *list) {
    char *text = json_array_size(list) ? json_dumps(list, JSON_COMPACT) : NULL;
    pare_model_meta_set(m, KEY, text);
    free(text);
    m->masks_text = pare_model_meta(m, KEY);
    if (!m->masks_text) pare_mask_forget(m);
}

/* Its place; the list's length: it isn't there. */
static size_t list_find(const json_t *list, const char *key) {
    size_t i, n = json_array_size(list);
    for (i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && strcmp(s, key) == 0) break;
    }
    return i;
}

void pare_mask_forget(pare_model *m) {
    json_decref(m->masks);
    m->masks = NULL;
    m->masks_text = NULL;
}

/* ---- asking and telling ---- */

bool pare_tensor_masked(pare_model *m, const pare_tensor *t) {
    json_t *list = masked_list(m);
    char *key = list ? key_of(m, t) : NULL;
    bool found = key && list_find(list, key) < json_array_size(list);
    free(key);
    return found;
}

bool pare_tensor_masked_set(pare_model *m, const pare_tensor *t, bool masked) {
    json_t *list = masked_list(m);
    bool foreign = !list && pare_model_meta(m, KEY);
    char *key = foreign ? NULL : key_of(m, t);
    if (!key) return false;
    if (!list) {
        list = m->masks = json_array();
        m->masks_text = NULL;
    }
    size_t at = list_find(list, key);
    bool there = at < json_array_size(list);
    if (there != masked) {
        if (masked)
            json_array_append_new(list, pare_json_str(key));
        else
            json_array_remove(list, at);
        list_write(m, list);
    } else if (!json_array_size(list) && !m->masks_text) {
        pare_mask_forget(m);
    }
    free(key);
    return true;
}

/* ---- edits ---- */

void pare_mask_note(pare_model *m, const char *name, pare_mask_hold *hold) {
    json_t *list = masked_list(m);
    for (size_t i = 0; list && i < m->tensors.len; i++) {
        const pare_tensor *t = m->tensors.data[i];
        const pare_value *v = t ? pare_tensor_value(m, t) : NULL;
        if (!v || (name && strcmp(v->name, name) != 0)) continue;
        char *key = key_of(m, t);
        size_t at = list_find(list, key);
        if (at < json_array_size(list)) pare_vec_push(&hold->entries, ((pare_mask_entry){t->id, at}));
        free(key);
    }
}

static int by_place(const void *a, const void *b) {
    size_t x = ((const pare_mask_entry *)a)->at, y = ((const pare_mask_entry *)b)->at;
    return (x > y) - (x < y);
}

void pare_mask_settle(pare_model *m, pare_mask_hold *hold) {
    json_t *list = hold->entries.len ? masked_list(m) : NULL;
    bool changed = false;
    if (list) qsort(hold->entries.data, hold->entries.len, sizeof *hold->entries.data, by_place);
    for (size_t i = hold->entries.len;
         list && i-- > 0;) { /* from the end: what goes moves nothing that is still to come */
        pare_mask_entry e = hold->entries.data[i];
        const pare_tensor *t = pare_model_tensor(m, e.tensor);
        char *key = t ? key_of(m, t) : NULL;
        const char *was = json_string_value(json_array_get(list, e.at));
        if (key && was && strcmp(key, was) == 0) {
            free(key);
            continue;
        }
        changed = true;
        if (key)
            json_array_set_new(list, e.at, pare_json_str(key));
        else
            json_array_remove(list, e.at);
        free(key);
    }
    if (changed) list_write(m, list);
    pare_vec_free(&hold->entries);
}

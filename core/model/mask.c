/* model/mask.c - which tensors are masked: a JSON list of names under the metadata key ai.pare.masked. See edit.h. */
#include "base/json.h"
#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

static const char KEY[] = "ai.pare.masked";

/* The list, or NULL when there is none or it isn't a list (somebody else's business then). */
static json_t *masked_list(const pare_model *m) {
    const char *text = pare_model_meta(m, KEY);
    json_t *list = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (list && json_is_array(list)) return list;
    json_decref(list);
    return NULL;
}

static size_t list_find(const json_t *list, const char *name) {
    size_t i, n = json_array_size(list);
    for (i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && strcmp(s, name) == 0) break;
    }
    return i;
}

bool pare_tensor_masked(const pare_model *m, const char *name) {
    json_t *list = masked_list(m);
    bool found = list && list_find(list, name) < json_array_size(list);
    json_decref(list);
    return found;
}

void pare_tensor_masked_set(pare_model *m, const char *name, bool masked) {
    json_t *list = masked_list(m);
    if (!list) list = json_array();
    size_t at = list_find(list, name);
    bool there = at < json_array_size(list);
    if (there != masked) {
        if (masked)
            json_array_append_new(list, pare_json_str(name));
        else
            json_array_remove(list, at);
        char *text = json_array_size(list) ? json_dumps(list, JSON_COMPACT) : NULL;
        pare_model_meta_set(m, KEY, text);
        free(text);
    }
    json_decref(list);
}

/* pipeline/config_set.c - see config_read.h: --set steps.pruned.with.sparsity=0.8, applied to the tree before it is
 * read. Elements of a list go by their `id` or by number. */
#include "pipeline/config_read.h"

#include <stdlib.h>
#include <string.h>

/* The element of a list that `word` names, or -1. */
static long element(const pare_yaml_node *list, const char *word) {
    for (uint32_t i = 0; i < list->n; i++) {
        const pare_yaml_node *id = pare_yaml_get(list->items[i], "id");
        if (id && id->text && strcmp(id->text, word) == 0) return (long)i;
    }
    if (!*word || strlen(word) > 6 || word[strspn(word, "0123456789")]) return -1;
    long i = strtol(word, NULL, 10);
    return i < (long)list->n ? i : -1;
}

static void no_place(pare_config *c, const pare_yaml_node *n, const char *word, const char *path, pare_span at) {
    const char **names = pare_xcalloc(n->n, sizeof *names);
    size_t n_names = 0;
    for (uint32_t i = 0; i < n->n; i++) {
        const pare_yaml_node *id = n->kind == PARE_YAML_MAP ? NULL : pare_yaml_get(n->items[i], "id");
        if (n->kind == PARE_YAML_MAP) names[n_names++] = n->items[i]->key;
        if (id && id->text) names[n_names++] = id->text;
    }
    if (n->text || n->kind == PARE_YAML_NULL) {
        pare_sb b = {0};
        pare_yaml_describe(n, &b);
        pare_config_fail(c, at, NULL, "config.set", NULL, "%s is %s: it has no \"%s\"", path, pare_sb_str(&b), word);
        pare_sb_free(&b);
    } else {
        pare_config_fail(c, at, NULL, "config.set", pare_config_hint(c, word, "there are", names, n_names),
                         n->kind == PARE_YAML_LIST ? "%s has no element \"%s\"" : "%s has no key \"%s\"", path, word);
    }
    free(names);
}

/* Goes one step down, making a map where one may be left out. NULL: said why not. */
static pare_yaml_node *descend(pare_config *c, pare_yaml_node *n, const char *word, const char *path, pare_span at) {
    pare_yaml *y = c->p->yaml;
    if (n->kind == PARE_YAML_LIST) {
        long i = element(n, word);
        if (i >= 0) return n->items[i];
    } else if (n->kind == PARE_YAML_MAP) {
        pare_yaml_node *next = pare_yaml_get(n, word);
        if (next && next->text && next->kind != PARE_YAML_NULL && n == y->root && strcmp(word, "output") == 0) {
            pare_yaml_node *full = pare_yaml_new_map(y, next->at); /* `output: DIR` is short for {dir: DIR} */
            pare_yaml_put(y, n, word, next->key_at, full);         /* first: a node holds its own key */
            pare_yaml_put(y, full, "dir", next->at, next);
            return full;
        }
        if (next && next->kind != PARE_YAML_NULL) return next;
        if (n == y->root || strcmp(word, "with") == 0 || strcmp(word, "preprocess") == 0 ||
            strcmp(word, "latency") == 0 || strcmp(word, "fit") == 0 || strcmp(word, "schedule") == 0 ||
            strcmp(word, "augment") == 0) {
            next = pare_yaml_new_map(y, at);
            pare_yaml_put(y, n, word, at, next);
            return next;
        }
    }
    no_place(c, n, word, path, at);
    return NULL;
}

void pare_config_set(pare_config *c, const char *set) {
    pare_yaml *y = c->p->yaml;
    const char *eq = strchr(set, '=');
    if (!eq || eq == set) {
        pare_config_fail(c, (pare_span){0}, NULL, "config.set", "as in --set steps.pruned.with.sparsity=0.8",
                         "--set %s: KEY=VALUE is expected", set);
        return;
    }
    pare_yaml_node *value;
    if (pare_yaml_parse_value(y, "--set", set, (size_t)(eq - set) + 1, c->d, &value) != PARE_OK) {
        c->errors++;
        return;
    }
    char *keys = pare_arena_strndup(&y->arena, set, (size_t)(eq - set));
    pare_yaml_node *n = y->root;
    for (char *word = keys;;) {
        char *dot = strchr(word, '.');
        size_t len = dot ? (size_t)(dot - word) : strlen(word);
        pare_span at = {value->at.src, 1, (uint32_t)(word - keys) + 1, len ? (uint32_t)len : 1};
        const char *path = word == keys ? "the file" : pare_arena_strndup(&y->arena, set, (size_t)(word - keys) - 1);
        char *name = pare_arena_strndup(&y->arena, word, len);
        if (!len) {
            pare_config_fail(c, at, NULL, "config.set", NULL, "a key is missing here");
            return;
        }
        if (dot) {
            n = descend(c, n, name, path, at);
            if (!n) return;
            word = dot + 1;
            continue;
        }
        long i = n->kind == PARE_YAML_LIST ? element(n, name) : -1;
        if (n->kind == PARE_YAML_MAP)
            pare_yaml_put(y, n, name, at, value);
        else if (i >= 0)
            n->items[i] = value;
        else
            no_place(c, n, name, path, at);
        return;
    }
}

/* pipeline/config_prep.c - see config_read.h: `preprocess`, of the data block and of a model. */
#include "data/data.h"
#include "pipeline/config_read.h"

#include <math.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { MAX_SIDE = 65535 }; /* data's images have no longer side */

static const char *const orders[] = {[PARE_ORDER_RGB] = "rgb", [PARE_ORDER_BGR] = "bgr"};
const char *const pare_config_layouts[3] = {"auto", "nchw", "nhwc"};

/* Of mean or std: a number for all channels, or one a channel. */
static void read_numbers(pare_config *c, const pare_yaml_node *n, const char *path, bool positive, double *v,
                         uint32_t *count) {
    bool lone = n->kind != PARE_YAML_LIST;
    uint32_t many = lone ? 1 : n->n;
    if (!many || many > PARE_DATA_CHANNELS) {
        pare_config_fail(c, n->at, path, "config.range", "one number, or one a channel",
                         "%s must hold 1 to %d numbers, got %u", path, PARE_DATA_CHANNELS, many);
        return;
    }
    for (uint32_t i = 0; i < many; i++) {
        const pare_yaml_node *item = lone ? n : n->items[i];
        if (item->kind != PARE_YAML_INT && item->kind != PARE_YAML_FLOAT) {
            pare_config_wrong(c, item, path, lone ? "a number, or a list of one a channel" : "a list of numbers", NULL);
            return;
        }
        if (!isfinite((float)item->f) || (positive && !((float)item->f > 0))) {
            pare_sb b = {0};
            pare_yaml_describe(item, &b);
            pare_config_fail(c, item->at, path, "config.range",
                             positive ? "samples are divided by it: (x * scale - mean) / std" : NULL,
                             "%s must be a number%s, got %s", path, positive ? " above 0" : "", pare_sb_str(&b));
            pare_sb_free(&b);
            return;
        }
        v[i] = item->f;
    }
    *count = many;
}

static bool read_pair(pare_config *c, const pare_yaml_node *n, const char *path, uint32_t *height, uint32_t *width) {
    int64_t h, w;
    if (n->n != 2) {
        pare_config_fail(c, n->at, path, "config.range", "as in [224, 224]",
                         "%s must be one size or [HEIGHT, WIDTH], got a list of %u", path, n->n);
        return false;
    }
    if (!pare_config_int(c, n->items[0], path, 1, MAX_SIDE, &h) ||
        !pare_config_int(c, n->items[1], path, 1, MAX_SIDE, &w))
        return false;
    *height = (uint32_t)h;
    *width = (uint32_t)w;
    return true;
}

static void read_resize(pare_config *c, const pare_yaml_node *n, const char *path, pare_data_preprocess *q) {
    uint32_t h = 0, w = 0;
    int64_t side = 0;
    bool ok =
        n->kind == PARE_YAML_LIST ? read_pair(c, n, path, &h, &w) : pare_config_int(c, n, path, 1, MAX_SIDE, &side);
    if (!ok) return;
    q->resize = (uint32_t)side;
    q->resize_height = h;
    q->resize_width = w;
}

static void read_crop(pare_config *c, const pare_yaml_node *n, const char *path, pare_data_preprocess *q) {
    int64_t side;
    if (n->kind == PARE_YAML_LIST)
        read_pair(c, n, path, &q->crop_height, &q->crop_width);
    else if (pare_config_int(c, n, path, 1, MAX_SIDE, &side))
        q->crop_height = q->crop_width = (uint32_t)side;
}

static void read_channels(pare_config *c, const pare_yaml_node *n, const char *path, pare_data_preprocess *q) {
    int64_t v;
    if (!pare_config_int(c, n, path, 1, 3, &v)) return;
    if (v == 2)
        pare_config_fail(c, n->at, path, "config.choice", "1: grey, 3: colour", "%s must be 1 or 3, got the int 2",
                         path);
    else
        q->channels = (uint32_t)v;
}

/* One key; null takes back what lies below. */
static void read_key(pare_config *c, const pare_yaml_node *n, const char *path, pare_data_preprocess *q) {
    bool back = n->kind == PARE_YAML_NULL;
    int i;
    if (strcmp(n->key, "mean") == 0) {
        if (back)
            q->n_mean = 0;
        else
            read_numbers(c, n, path, false, q->mean, &q->n_mean);
    } else if (strcmp(n->key, "std") == 0) {
        if (back)
            q->n_std = 0;
        else
            read_numbers(c, n, path, true, q->std, &q->n_std);
    } else if (strcmp(n->key, "scale") == 0) {
        uint32_t one;
        q->scale = 0;
        if (!back && n->kind == PARE_YAML_LIST)
            pare_config_wrong(c, n, path, "a number", "it is the same for all channels");
        else if (!back)
            read_numbers(c, n, path, true, &q->scale, &one);
    } else if (strcmp(n->key, "resize") == 0) {
        q->resize = q->resize_height = q->resize_width = 0;
        if (!back) read_resize(c, n, path, q);
    } else if (strcmp(n->key, "crop") == 0) {
        q->crop_height = q->crop_width = 0;
        if (!back) read_crop(c, n, path, q);
    } else if (strcmp(n->key, "channels") == 0) {
        q->channels = 0;
        if (!back) read_channels(c, n, path, q);
    } else if (strcmp(n->key, "order") == 0) {
        q->order = PARE_ORDER_RGB;
        if (!back && (i = pare_config_word(c, n, path, orders, COUNT(orders))) >= 0) q->order = (pare_color_order)i;
    } else if (strcmp(n->key, "layout") == 0) {
        q->layout = 0;
        if (!back && (i = pare_config_word(c, n, path, pare_config_layouts, 3)) >= 0) q->layout = i;
    }
}

struct pare_data_preprocess *pare_config_preprocess(pare_config *c, const pare_yaml_node *n, const char *path,
                                                    const struct pare_data_preprocess *base) {
    static const pare_config_key keys[] = {{"mean", false}, {"std", false},      {"scale", false}, {"resize", false},
                                           {"crop", false}, {"channels", false}, {"order", false}, {"layout", false}};
    pare_data_preprocess *q = pare_arena_alloc(&c->p->arena, sizeof *q);
    if (base) *q = *base;
    if (!n) return q;
    if (n->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, n, path, "a map, as in {mean: 0.5, std: 0.25}", NULL);
        return q;
    }
    pare_config_keys(c, n, path, keys, COUNT(keys));
    for (uint32_t i = 0; i < n->n; i++)
        read_key(c, n->items[i], pare_arena_printf(&c->p->arena, "%s.%s", path, n->items[i]->key), q);
    if (q->n_mean > 1 && q->n_std > 1 && q->n_mean != q->n_std) {
        const pare_yaml_node *at = pare_yaml_get(n, "std");
        pare_config_fail(c, at ? at->at : n->at, path, "config.range", "one number, or one a channel",
                         "mean has %u numbers and std %u", q->n_mean, q->n_std);
    }
    return q;
}

/* ---- resolved ---- */

static json_t *numbers(const double *v, uint32_t n) {
    if (!n) return NULL;
    if (n == 1) return json_real(v[0]);
    json_t *j = json_array();
    for (uint32_t i = 0; i < n; i++) json_array_append_new(j, json_real(v[i]));
    return j;
}

static void put(json_t *to, const char *key, json_t *value, bool all) {
    if (value || all) json_object_set_new(to, key, value ? value : json_null());
}

json_t *pare_config_preprocess_json(const struct pare_data_preprocess *q, bool all) {
    json_t *j = json_object();
    put(j, "mean", numbers(q->mean, q->n_mean), all);
    put(j, "std", numbers(q->std, q->n_std), all);
    put(j, "scale", q->scale != 0 ? json_real(q->scale) : NULL, all);
    put(j, "resize",
        q->resize          ? json_integer(q->resize)
        : q->resize_height ? json_pack("[I, I]", (json_int_t)q->resize_height, (json_int_t)q->resize_width)
                           : NULL,
        all);
    put(j, "crop", q->crop_height ? json_pack("[I, I]", (json_int_t)q->crop_height, (json_int_t)q->crop_width) : NULL,
        all);
    put(j, "channels", q->channels ? json_integer(q->channels) : NULL, all);
    json_object_set_new(j, "order", json_string(orders[q->order]));
    json_object_set_new(j, "layout", json_string(pare_config_layouts[q->layout]));
    return j;
}

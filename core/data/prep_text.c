/* data/prep_text.c - see data.h: preprocessing as JSON, so that a model can carry it. May use: base/json.h. */
#include "base/json.h"
#include "data/data.h"
#include "data/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *numbers(const double *v, uint32_t n) {
    json_t *a = json_array();
    for (uint32_t i = 0; i < n; i++) json_array_append_new(a, json_real(isfinite(v[i]) ? v[i] : 0));
    return a;
}

static json_t *sides(uint32_t height, uint32_t width) {
    json_t *a = json_array();
    json_array_append_new(a, json_integer(height));
    json_array_append_new(a, json_integer(width));
    return a;
}

void pare_data_preprocess_print(const pare_data_preprocess *p, pare_sb *out) {
    json_t *j = json_object();
    if (p->scale != 0 && isfinite(p->scale)) json_object_set_new(j, "scale", json_real(p->scale));
    if (p->n_mean) json_object_set_new(j, "mean", numbers(p->mean, p->n_mean));
    if (p->n_std) json_object_set_new(j, "std", numbers(p->std, p->n_std));
    if (p->resize_height)
        json_object_set_new(j, "resize", sides(p->resize_height, p->resize_width));
    else if (p->resize)
        json_object_set_new(j, "resize", json_integer(p->resize));
    if (p->crop_height) json_object_set_new(j, "crop", sides(p->crop_height, p->crop_width));
    if (p->channels) json_object_set_new(j, "channels", json_integer(p->channels));
    if (p->order == PARE_ORDER_BGR) json_object_set_new(j, "order", json_string("bgr"));
    if (p->layout != PARE_DATA_LAYOUT_AUTO)
        json_object_set_new(j, "layout", json_string(p->layout == PARE_DATA_LAYOUT_NHWC ? "nhwc" : "nchw"));
    /* with as few digits as give the same numbers back: 0.485, not 0.48499999999999999 */
    char *text = NULL;
    for (size_t digits = 9; digits <= 17; digits++) {
        free(text);
        text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(digits));
        json_t *back = text ? json_loads(text, 0, NULL) : NULL;
        bool same = json_equal(j, back);
        json_decref(back);
        if (same) break;
    }
    pare_sb_add(out, text ? text : "{}");
    free(text);
    json_decref(j);
}

static bool get_numbers(const json_t *v, double *to, uint32_t *n) {
    if (json_is_number(v)) {
        to[0] = json_number_value(v);
        *n = 1;
        return true;
    }
    size_t len = json_array_size(v); /* 0 for what is no array */
    if (!len || len > PARE_DATA_CHANNELS) return false;
    for (size_t i = 0; i < len; i++) {
        if (!json_is_number(json_array_get(v, i))) return false;
        to[i] = json_number_value(json_array_get(v, i));
    }
    *n = (uint32_t)len;
    return true;
}

static bool get_side(const json_t *v, uint32_t *to) {
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
    if (n < 1 || n > PARE_IMAGE_SIDE) return false;
    *to = (uint32_t)n;
    return true;
}

static bool get_sides(const json_t *v, uint32_t *height, uint32_t *width) {
    return json_array_size(v) == 2 && get_side(json_array_get(v, 0), height) && get_side(json_array_get(v, 1), width);
}

/* *known: is it a key at all? */
static bool get(const char *key, const json_t *v, pare_data_preprocess *p, bool *known) {
    const char *s = json_string_value(v);
    *known = true;
    if (strcmp(key, "scale") == 0) {
        p->scale = json_number_value(v);
        return p->scale != 0;
    }
    if (strcmp(key, "mean") == 0) return get_numbers(v, p->mean, &p->n_mean);
    if (strcmp(key, "std") == 0) return get_numbers(v, p->std, &p->n_std);
    if (strcmp(key, "resize") == 0) return get_side(v, &p->resize) || get_sides(v, &p->resize_height, &p->resize_width);
    if (strcmp(key, "crop") == 0) {
        if (get_sides(v, &p->crop_height, &p->crop_width)) return true;
        if (!get_side(v, &p->crop_height)) return false;
        p->crop_width = p->crop_height;
        return true;
    }
    if (strcmp(key, "channels") == 0) return get_side(v, &p->channels);
    if (strcmp(key, "order") == 0) {
        p->order = s && strcmp(s, "bgr") == 0 ? PARE_ORDER_BGR : PARE_ORDER_RGB;
        return s && (strcmp(s, "rgb") == 0 || p->order == PARE_ORDER_BGR);
    }
    if (strcmp(key, "layout") == 0) {
        p->layout = !s ? PARE_DATA_LAYOUT_AUTO : strcmp(s, "nhwc") == 0 ? PARE_DATA_LAYOUT_NHWC : PARE_DATA_LAYOUT_NCHW;
        return s && (strcmp(s, "nchw") == 0 || p->layout == PARE_DATA_LAYOUT_NHWC);
    }
    *known = false;
    return false;
}

pare_status pare_data_preprocess_parse(const char *json, const char *name, pare_diags *d, pare_data_preprocess *out) {
    json_error_t err;
    json_t *j = json_loads(json, JSON_REJECT_DUPLICATES, &err);
    if (!json_is_object(j)) {
        pare_fail_file(d, PARE_EINVAL, name, "data.preprocess", NULL, "its preprocessing is no JSON object: %s",
                       j ? "it is another value" : err.text);
        json_decref(j);
        return PARE_EINVAL;
    }
    pare_data_preprocess p = {0};
    pare_status st = PARE_OK;
    const char *key;
    json_t *v;
    json_object_foreach(j, key, v) {
        bool known;
        if (get(key, v, &p, &known)) continue;
        st = pare_fail_file(d, PARE_EINVAL, name, "data.preprocess",
                            "mean, std, scale, resize, crop, channels, order and layout are known",
                            known ? "the value of '%s' in its preprocessing is not allowed"
                                  : "'%s' in its preprocessing is not known",
                            key);
        break;
    }
    json_decref(j);
    if (st == PARE_OK) *out = p;
    return st;
}

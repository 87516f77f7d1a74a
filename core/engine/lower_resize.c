/* engine/lower_resize.c - Upsample and the older Resizes as the Resize of PARE_ENGINE_OPSET.
 *
 * Before 11 an output point x lies at x / scale of the input (asymmetric). Nearest takes the point before it, or, where
 * it samples down, the one after it, as the op's own test data has it. May use: lower_parts.h.
 */
#include "engine/lower_parts.h"

#include <stdlib.h>
#include <string.h>

static void text_set(pare_lowering *l, const pare_node *n, const char *name, const char *text) {
    pare_attr_set_string(l->m, n->id, name, text, strlen(text));
}

static void asymmetric(pare_lowering *l, const pare_node *n, const char *mode, const char *rounding) {
    text_set(l, n, "mode", mode);
    text_set(l, n, "coordinate_transformation_mode", "asymmetric");
    if (strcmp(mode, "nearest") == 0) text_set(l, n, "nearest_mode", rounding);
}

/* n as a Resize by `scales`; nearest in two where it samples one axis up and another down. */
static void resize_by(pare_lowering *l, pare_node *n, uint32_t scales) {
    uint32_t in[3] = {pare_lower_in(n, 0), 0, scales};
    bool nearest = !pare_node_attr(n, "mode") || pare_lower_attr_is(n, "mode", "nearest");
    bool up = false, down = false;
    uint64_t count = 0;
    const float *s = nearest ? pare_lower_const_data(l, scales, PARE_FLOAT, &count) : NULL;
    for (uint64_t i = 0; s && i < count; i++) {
        up |= s[i] > 1;
        down |= s[i] < 1;
    }
    if (up && down) {
        float *part = pare_xmalloc(2 * count * sizeof *part);
        for (uint64_t i = 0; i < count; i++) {
            part[i] = s[i] > 1 ? s[i] : 1;
            part[count + i] = s[i] > 1 ? 1 : s[i];
        }
        in[2] = pare_lower_floats(l, n, "scales_up", part, count);
        in[0] = pare_lower_before(l, n, "Resize", "up", in, 3);
        const pare_value *v = pare_model_value(l->m, in[0]);
        if (v) asymmetric(l, pare_model_node(l->m, v->producer), "nearest", "floor");
        in[2] = pare_lower_floats(l, n, "scales_down", part + count, count);
        free(part);
    }
    pare_lower_become(l, n, "Resize", in, 3);
    asymmetric(l, n, nearest ? "nearest" : "linear", down ? "ceil" : "floor");
}

void pare_lower_rule_upsample(pare_lowering *l, pare_node *n) {
    if (l->from >= 9) {
        resize_by(l, n, pare_lower_in(n, 1));
        return;
    }
    if (l->from >= 7) {
        const pare_attr *a = pare_node_attr(n, "scales");
        if (a && a->type == PARE_ATTR_FLOATS)
            resize_by(l, n, pare_lower_floats(l, n, "scales", a->floats, a->n));
        else
            pare_lower_bad(l, n, "attribute scales is missing");
        return;
    }
    float scales[4] = {1, 1, pare_node_attr_float(n, "height_scale", 0), pare_node_attr_float(n, "width_scale", 0)};
    if (scales[2] > 0 && scales[3] > 0)
        resize_by(l, n, pare_lower_floats(l, n, "scales", scales, 4));
    else
        pare_lower_bad(l, n, "height_scale and width_scale must both be there, and above 0");
}

void pare_lower_rule_resize_10(pare_lowering *l, pare_node *n) { resize_by(l, n, pare_lower_in(n, 1)); }

/* 11 and 12 had tf_half_pixel_for_nn: x lies at p + 0.5, where half_pixel has it at p. Rounded down that is p rounded
 * to the nearest, halves up; to the nearest, halves down, it is p rounded up. */
void pare_lower_rule_resize_11(pare_lowering *l, pare_node *n) {
    if (pare_lower_attr_is(n, "coordinate_transformation_mode", "tf_half_pixel_for_nn")) {
        bool nearest = !pare_node_attr(n, "mode") || pare_lower_attr_is(n, "mode", "nearest");
        bool down = pare_lower_attr_is(n, "nearest_mode", "floor");
        bool dflt = !pare_node_attr(n, "nearest_mode") || pare_lower_attr_is(n, "nearest_mode", "round_prefer_floor");
        if (!nearest || (!down && !dflt)) {
            pare_lower_refuse(
                l, n, "export the model again at opset 13 or later",
                "coordinate_transformation_mode tf_half_pixel_for_nn went with opset 13; it can be had with "
                "mode nearest and nearest_mode floor or round_prefer_floor");
            return;
        }
        text_set(l, n, "coordinate_transformation_mode", "half_pixel");
        text_set(l, n, "nearest_mode", down ? "round_prefer_ceil" : "ceil");
    }
    pare_lower_rule_resize(l, n);
}

/* Inputs left out in the one way that all opsets since 13 have: no roi where none is used, no empty scales or sizes. */
void pare_lower_rule_resize(pare_lowering *l, pare_node *n) {
    for (uint32_t slot = 2; slot <= 3; slot++) {
        const pare_tensor *t = pare_lower_const(l, pare_lower_in(n, slot));
        if (t && t->count == 0) pare_node_input_set(l->m, n->id, slot, 0);
    }
    if (pare_lower_in(n, 3) && l->from < 13) pare_node_input_set(l->m, n->id, 2, 0); /* what is there must be empty */
    if (pare_lower_in(n, 1) && !pare_lower_attr_is(n, "coordinate_transformation_mode", "tf_crop_and_resize"))
        pare_node_input_set(l->m, n->id, 1, 0);
}

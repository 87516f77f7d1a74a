/* cli/cmd_pack.c - pare pack and pare unpack: sparse weights as gaps and values, and back. */
#include "base/json.h"
#include "cli/cli.h"
#include "model/edit.h"
#include "model/onnx.h"
#include "model/pack.h"
#include "pipeline/measure.h"

#include <inttypes.h>
#include <string.h>

/* OUT must not be there yet, or --force. It may be IN itself: the new file appears by rename, the old one stays mapped.
 */
static pare_status check_out(pare_cli *c, const char *out) {
    pare_path_kind kind = pare_path_what(out);
    if (kind == PARE_PATH_NONE) return PARE_OK;
    if (kind != PARE_PATH_FILE)
        return pare_fail_file(c->diags, PARE_EINVAL, out, "cli.out", NULL,
                              "this is no file that a result could replace");
    if (!c->args.force)
        return pare_fail_file(c->diags, PARE_EINVAL, out, "cli.out-exists", "give --force to replace it",
                              "this file exists already");
    return PARE_OK;
}

static pare_status finish(pare_cli *c, pare_model *m, const char *in, const char *out, const pare_pack_result *res) {
    uint64_t after = 0;
    pare_onnx_write_opts opts = {.bytes = &after};
    pare_metrics size = pare_metrics_none();
    pare_status st = pare_metrics_read(m, false, NULL, c->diags, &size);
    uint64_t before = (uint64_t)size.bytes;
    if (!st) st = pare_onnx_write(m, out, &opts, c->diags);
    if (st) return st;
    if (c->args.json) {
        json_t *j = json_pack("{s:o, s:o, s:I, s:I}", "in", pare_json_str(in), "out", pare_json_str(out), "bytes_in",
                              (json_int_t)before, "bytes_out", (json_int_t)after);
        if (res) json_object_set_new(j, "tensors_packed", json_integer((json_int_t)res->tensors_packed));
        pare_json_print(j, stdout);
        json_decref(j);
        return PARE_OK;
    }
    pare_sb b = {0};
    pare_sb_bytes(&b, before);
    pare_sb_add(&b, " -> ");
    pare_sb_bytes(&b, after);
    if (res)
        pare_sb_printf(&b, " (%" PRIu64 " tensor%s packed)", res->tensors_packed, res->tensors_packed == 1 ? "" : "s");
    pare_sb_add(&b, ": ");
    pare_sb_add_safe(&b, out, strlen(out));
    puts(pare_sb_str(&b));
    pare_sb_free(&b);
    return PARE_OK;
}

static pare_status pack(pare_cli *c) {
    const char *in = c->args.rest.data[0], *out = c->args.rest.data[1];
    pare_model *m = NULL;
    pare_pack_result res = {0};
    pare_status st = check_out(c, out);
    if (!st) st = pare_model_load(in, c->diags, &m);
    if (!st) st = pare_model_check(m, c->diags);
    if (!st) st = pare_model_pack(m, c->diags, &res);
    if (!st && res.why_not)
        st = pare_fail_file(c->diags, PARE_EUNSUPPORTED, in, "pack.impossible", NULL, "can't be packed: %s",
                            res.why_not);
    if (!st && !res.tensors_packed)
        pare_say(c->diags, PARE_WARNING, "pack.nothing",
                 "no tensor of %s has enough zeros to get smaller: the result is a plain copy", in);
    if (!st) st = finish(c, m, in, out, &res);
    pare_model_free(m);
    return st;
}

static pare_status unpack(pare_cli *c) {
    const char *in = c->args.rest.data[0], *out = c->args.rest.data[1];
    pare_model *m = NULL;
    pare_status st = check_out(c, out);
    if (!st) st = pare_onnx_read(in, c->diags, &m);
    if (!st && !pare_model_is_packed(m))
        pare_say(c->diags, PARE_WARNING, "pack.not-packed", "%s is not packed: the result is a plain copy", in);
    if (!st) st = pare_model_unpack(m, c->diags);
    if (!st) st = pare_model_check(m, c->diags);
    if (!st) st = finish(c, m, in, out, NULL);
    pare_model_free(m);
    return st;
}

static const pare_opt opts[] = {PARE_OPT_FORCE, PARE_OPT_QUIET, PARE_OPT_JSON};

const pare_command pare_cmd_pack = {
    "pack",
    "IN OUT",
    2,
    2,
    "stores sparse weights small, in an .onnx that every runtime unfolds as it loads it",
    "Weights with many zeros are stored as gaps and values (or a bit mask) and rebuilt by ordinary ONNX nodes that\n"
    "runtimes fold into constants. The outputs are the same, bit for bit. Needs opset 11 or newer.",
    opts,
    sizeof opts / sizeof *opts,
    pack};

const pare_command pare_cmd_unpack = {"unpack",
                                      "IN OUT",
                                      2,
                                      2,
                                      "gives the plain file back from a packed one; one that pare wrote byte for byte",
                                      NULL,
                                      opts,
                                      sizeof opts / sizeof *opts,
                                      unpack};

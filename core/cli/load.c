/* cli/load.c - see load.h. */
#include "cli/load.h"

#include "model/edit.h"
#include "model/finite.h"
#include "model/onnx.h"
#include "model/pack.h"

pare_status pare_cli_load(pare_cli *c, bool profile, bool tune, pare_loaded_model *l) {
    const char *path = c->args.rest.data[0];
    *l = (pare_loaded_model){.plugins = pare_cli_plugins(c)};
    if (!l->plugins) return PARE_EINVAL;
    pare_status st = pare_compute_open(l->plugins, c->args.device, c->diags, &l->compute);
    if (!st) st = pare_model_load(path, c->diags, &l->model);
    if (!st) st = pare_model_check(l->model, c->diags);
    if (!st) st = pare_model_say_not_finite(l->model, path, c->diags);
    if (st) return st;
    pare_session_opts opts = pare_compute_session(&l->compute);
    opts.threads = (uint32_t)c->args.threads;
    opts.memory = c->args.memory << 20;
    opts.profile = profile;
    opts.any_batch = true;
    opts.tune = tune;
    opts.progress = c->progress;
    st = pare_session_open(l->model, &opts, c->diags, &l->session);
    if (st && st != PARE_ECANCELLED) pare_say(c->diags, PARE_NOTE, "cli.model", "this is said of %s", path);
    return st;
}

void pare_cli_unload(pare_loaded_model *l) {
    pare_session_close(l->session);
    pare_model_free(l->model);
    pare_compute_close(&l->compute);
    pare_plugins_free(l->plugins);
}

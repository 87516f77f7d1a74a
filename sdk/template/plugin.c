/* A plugin in one file: the technique example.scale multiplies the weights whose names match by a factor. */
#include <pare/plugin.h>

static const pare_param params[] = {
    {.size = sizeof(pare_param),
     .type = PARE_PARAM_FLOAT,
     .name = "factor",
     .dflt = "0.5",
     .doc = "What the weights are multiplied by."},
    {.size = sizeof(pare_param),
     .type = PARE_PARAM_PATTERN,
     .flags = PARE_PARAM_LIST,
     .name = "include",
     .dflt = "[\"*\"]",
     .doc = "The layers to scale: weight names, node names or labels like Conv#3."},
};

/* Arguments live until destroy, so they can be the whole state. */
static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    (void)host;
    *self = (void *)args;
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    const pare_arg *args = self;
    const pare_layers_api *layers = host->ext(host, PARE_LAYERS_V1);
    const pare_tensors_api *tensors = host->ext(host, PARE_TENSORS_V1);
    if (!layers || !tensors) return PARE_EUNSUPPORTED;
    const char *const ops[] = {"Conv", "Gemm", "MatMul"};
    uint64_t n;
    pare_status st = layers->list(host, model, NULL, ops, 3, NULL, 0, &n);
    if (st) return st;
    pare_layer *layer = host->scratch(host, n * sizeof *layer);
    uint32_t *hit = host->scratch(host, n * sizeof *hit);
    if (!layer || !hit) return PARE_ENOMEM;
    for (uint64_t i = 0; i < n; i++) layer[i].size = sizeof *layer;
    if ((st = layers->list(host, model, NULL, ops, 3, layer, n, &n))) return st;
    if ((st = layers->select(host, model, "include", args[1].u.list, args[1].n, layer, n, hit))) return st;
    for (uint64_t i = 0; i < n; i++) {
        pare_view w = {.size = sizeof w};
        if ((st = host->tick(host, (double)i / (double)n, layer[i].name))) return st;
        if (!hit[i]) continue;
        if ((st = tensors->borrow(host, model, layer[i].tensor, PARE_WRITE, &w))) return st;
        float *x = w.data;
        for (uint64_t k = 0; w.dtype == PARE_FLOAT && k < w.count; k++) x[k] *= (float)args[0].u.f;
        tensors->release(host, model, layer[i].tensor);
    }
    return PARE_OK;
}

static const pare_technique scale = {
    .size = sizeof scale,
    .id = "example.scale",
    .version = "1.0.0",
    .summary = "Multiplies weights by a factor.",
    .params = params,
    .n_params = 2,
    .param_stride = sizeof params[0],
    .create = create,
    .apply = apply,
};
static const pare_technique *const techniques[] = {&scale, NULL};
static const pare_plugin plugin = {
    .size = sizeof plugin,
    .abi_major = PARE_ABI_MAJOR,
    .abi_minor = PARE_ABI_MINOR,
    .id = "example",
    .version = "1.0.0",
    .vendor = "you",
    .license = "Apache-2.0",
    .techniques = techniques,
};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }

/* tests/plugins/cpp17.cpp - a test plugin in C++17: the headers are C, the plugin need not be. */
#include <pare/plugin.h>

#include <new>
#include <string>
#include <vector>

namespace {

struct State {
    std::string name;
    double factor;
};

pare_status create(const pare_host *, const pare_arg *args, void **self) {
    *self = new (std::nothrow) State{args[1].u.s, args[0].u.f};
    return *self ? PARE_OK : PARE_ENOMEM;
}

pare_status apply(void *self, const pare_host *host, pare_model *model) {
    const auto *state = static_cast<const State *>(self);
    const auto *tensors = static_cast<const pare_tensors_api *>(host->ext(host, PARE_TENSORS_V1));
    const uint32_t id = tensors->find(host, model, state->name.c_str());
    if (!id) {
        pare_diag d = {};
        d.size = sizeof d;
        d.severity = PARE_ERROR;
        d.code = "cpp17.no-tensor";
        d.message = "there is no such tensor";
        d.param = "name";
        host->report(host, &d);
        return PARE_EINVAL;
    }
    pare_view view = {};
    view.size = sizeof view;
    if (const pare_status st = tensors->borrow(host, model, id, PARE_WRITE, &view)) return st;
    auto *x = static_cast<float *>(view.data);
    std::vector<float> scaled(x, x + view.count);
    for (auto &v : scaled) v *= static_cast<float>(state->factor);
    for (size_t i = 0; i < scaled.size(); i++) x[i] = scaled[i];
    tensors->release(host, model, id);
    return PARE_OK;
}

void destroy(void *self) { delete static_cast<State *>(self); }

pare_param row(const char *name, uint32_t type, const char *dflt) {
    pare_param p = {};
    p.size = sizeof p;
    p.type = type;
    p.name = name;
    p.doc = "A test.";
    p.dflt = dflt;
    return p;
}

const pare_param params[] = {row("factor", PARE_PARAM_FLOAT, "0.5"), row("name", PARE_PARAM_STRING, "fc.weight")};

const pare_technique technique = [] {
    pare_technique t = {};
    t.size = sizeof t;
    t.id = "test.cpp17";
    t.version = "1.0.0";
    t.summary = "Scales one tensor.";
    t.params = params;
    t.n_params = 2;
    t.param_stride = sizeof(pare_param);
    t.create = create;
    t.apply = apply;
    t.destroy = destroy;
    return t;
}();
const pare_technique *const techniques[] = {&technique, nullptr};
const pare_plugin plugin = {sizeof(pare_plugin), PARE_ABI_MAJOR, PARE_ABI_MINOR, "test-cpp17", "1.0.0",
                            "pare tests",        "Apache-2.0",   techniques,     nullptr,      nullptr};

} // namespace

const pare_plugin *pare_plugin_v1(void) { return &plugin; }

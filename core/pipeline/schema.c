/* pipeline/schema.c - see schema.h. Each function here mirrors one part of the reader in config_*.c. */
#include "pipeline/schema.h"

#include "engine/recompute.h"
#include "pipeline/config_read.h"

/* Where a text is typed only after ${...} was replaced, a string that holds one is as good. */
static json_t *substitution(void) { return json_pack("{s:s, s:s}", "type", "string", "pattern", "\\$\\{[^}]+\\}"); }

static json_t *or_substitution(json_t *schema, const char *description) {
    json_t *j = json_pack("{s:[o, o]}", "anyOf", schema, substitution());
    if (description) json_object_set_new(j, "description", json_string(description));
    return j;
}

static json_t *text(const char *description) {
    return json_pack("{s:s, s:i, s:s}", "type", "string", "minLength", 1, "description", description);
}

static json_t *file_path(const char *description) {
    json_t *j = text(description);
    json_object_set_new(j, "pattern", json_string("^[^~]"));
    return j;
}

/* Names of models and steps. */
static json_t *name_schema(bool dots, const char *description) {
    json_t *j = json_pack("{s:s, s:s, s:i}", "type", "string", "pattern",
                          dots ? "^[A-Za-z0-9_][A-Za-z0-9._-]*$" : "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength", 100);
    return or_substitution(j, description);
}

static json_t *words(const char *const *w) {
    json_t *all = json_array();
    for (; *w; w++) json_array_append_new(all, json_string(*w));
    return json_pack("{s:o}", "enum", all);
}

static json_t *object(json_t *properties, json_t *required) {
    json_t *j = json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0, "properties", properties);
    if (required) json_object_set_new(j, "required", required);
    return j;
}

/* {if: KEY is NAME, then: `with` fits `table`}. */
static json_t *when(const char *key, const char *name, pare_param_table table) {
    json_t *with = pare_params_schema(table);
    bool needed = json_object_get(with, "required") != NULL;
    json_t *then = json_object();
    if (needed) {
        json_object_set_new(then, "required", json_pack("[s]", "with"));
    } else {
        with = json_pack("{s:[o, {s:s}]}", "anyOf", with, "type", "null");
    }
    json_object_set_new(then, "properties", json_pack("{s:o}", "with", with));
    return json_pack("{s:{s:{s:{s:s}}, s:[s]}, s:o}", "if", "properties", key, "const", name, "required", key, "then",
                     then);
}

static json_t *with_property(void) {
    return json_pack("{s:[s, s], s:s}", "type", "object", "null", "description", "Its parameters.");
}

static json_t *switch_schema(bool has_auto, const char *description) {
    json_t *j =
        words(has_auto ? (const char *const[]){"auto", "on", "off", NULL} : (const char *const[]){"on", "off", NULL});
    json_array_append_new(json_object_get(j, "enum"), json_true());
    json_array_append_new(json_object_get(j, "enum"), json_false());
    return or_substitution(j, description);
}

/* ---- data ---- */

static json_t *whole(json_int_t lo, json_int_t hi, const char *description) {
    return or_substitution(json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", lo, "maximum", hi), description);
}

static json_t *or_null(json_t *schema, const char *description) {
    return json_pack("{s:[o, {s:s}], s:s}", "anyOf", schema, "type", "null", "description", description);
}

static json_t *number(bool positive) {
    json_t *j = json_pack("{s:s}", "type", "number");
    if (positive) json_object_set_new(j, "exclusiveMinimum", json_integer(0));
    return or_substitution(j, NULL);
}

/* A number, or a list of one a channel. */
static json_t *channel_numbers(bool positive, const char *description) {
    json_t *many =
        json_pack("{s:s, s:i, s:i, s:o}", "type", "array", "minItems", 1, "maxItems", 16, "items", number(positive));
    return json_pack("{s:[o, o, {s:s}], s:s}", "anyOf", number(positive), many, "type", "null", "description",
                     description);
}

static json_t *side_or_pair(const char *description) {
    json_t *pair = json_pack("{s:s, s:i, s:i, s:o}", "type", "array", "minItems", 2, "maxItems", 2, "items",
                             whole(1, 65535, NULL));
    return json_pack("{s:[o, o, {s:s}], s:s}", "anyOf", whole(1, 65535, NULL), pair, "type", "null", "description",
                     description);
}

static json_t *layout_words(void) {
    return or_substitution(words((const char *const[]){"auto", "nchw", "nhwc", NULL}), NULL);
}

static json_t *preprocess_schema(const char *description) {
    json_t *properties = json_object(), *grey = json_pack("{s:[i, i]}", "enum", 1, 3);
    json_object_set_new(properties, "mean", channel_numbers(false, "Taken off after scaling; one, or one a channel."));
    json_object_set_new(properties, "std", channel_numbers(true, "What is left is divided by it; likewise."));
    json_object_set_new(
        properties, "scale",
        or_null(number(true), "Samples are multiplied by it; default: 1/255 for 8-bit pixels, else 1."));
    json_object_set_new(properties, "resize", side_or_pair("The shorter side, or [HEIGHT, WIDTH]."));
    json_object_set_new(properties, "crop", side_or_pair("From the centre: a square's side, or [HEIGHT, WIDTH]."));
    json_object_set_new(properties, "channels", or_null(or_substitution(grey, NULL), "1: grey, 3: colour."));
    json_object_set_new(
        properties, "order",
        or_null(or_substitution(words((const char *const[]){"rgb", "bgr", NULL}), NULL), "Default: rgb."));
    json_object_set_new(properties, "layout", or_null(layout_words(), "The model's input; default: auto."));
    json_t *j = object(properties, NULL);
    json_object_set_new(j, "description", json_string(description));
    return j;
}

/* The keys that say where samples come from, one of which a set has. */
static json_t *source_properties(void) {
    json_t *p = json_object();
    json_object_set_new(p, "idx",
                        file_path("PREFIX of PREFIX-images-idx3-ubyte[.gz] and PREFIX-labels-idx1-ubyte[.gz]."));
    json_object_set_new(p, "npy", file_path("A .npy file of samples; see labels."));
    json_object_set_new(p, "npz", file_path("A .npz file with the arrays `images` and, if it has them, `labels`."));
    json_object_set_new(p, "cifar10", file_path("The folder of CIFAR-10's binary version; see part."));
    json_object_set_new(p, "cifar100", file_path("The folder of CIFAR-100's binary version; see part."));
    json_object_set_new(p, "folder", file_path("A folder with a folder of images for each class."));
    json_object_set_new(p, "flat", file_path("A folder of images without labels, or one image."));
    json_object_set_new(p, "list", file_path("A text file, \"IMAGE LABEL\" a line, relative to it."));
    json_object_set_new(p, "safetensors", file_path("A file with the tensors `images` and, if it has them, `labels`."));
    json_object_set_new(p, "random", whole(1, INT32_MAX, "So many normal samples of the model's shape."));
    json_object_set_new(p, "from", text("Another set."));
    return p;
}

static json_t *set_schema(void) {
    json_t *p = source_properties(), *rules = json_array(),
           *boolean = switch_schema(false, "In a new order each epoch.");
    const char *key;
    json_t *value;
    json_object_foreach(p, key, value) json_array_append_new(rules, json_pack("{s:[s]}", "required", key));
    json_t *share = json_pack("{s:s, s:i, s:i}", "type", "number", "exclusiveMinimum", 0, "maximum", 1);
    json_t *edge = json_pack("{s:s, s:i, s:i}", "type", "number", "minimum", 0, "maximum", 1);
    json_object_set_new(p, "labels", file_path("npy: the .npy file of labels; npz, safetensors: the array's name."));
    json_object_set_new(p, "images", text("npz, safetensors: the array's name; default: images."));
    json_object_set_new(
        p, "part", or_substitution(words((const char *const[]){"train", "test", NULL}), "CIFAR's; default: train."));
    json_object_set_new(p, "layout", layout_words());
    json_object_set_new(p, "classes", whole(1, INT32_MAX, "Labels are below it; random makes such."));
    json_object_set_new(p, "take", whole(1, INT64_MAX, "So many samples, drawn by seed and class."));
    json_object_set_new(p, "split",
                        json_pack("{s:s, s:i, s:i, s:o, s:s}", "type", "array", "minItems", 2, "maxItems", 2, "items",
                                  or_substitution(edge, NULL), "description", "A share of each class, as [0, 0.9]."));
    json_object_set_new(p, "share", or_substitution(share, "Short for split: [0, SHARE]."));
    json_object_set_new(p, "shuffle", boolean);
    json_object_set_new(p, "seed", whole(0, INT64_MAX, "Default: the pipeline's."));
    json_object_set_new(p, "on_error",
                        or_substitution(words((const char *const[]){"fail", "skip", NULL}),
                                        "What an image that can't be decoded does; default: fail."));
    json_t *j = object(p, NULL);
    json_object_set_new(j, "oneOf", rules);
    json_object_set_new(j, "not", json_pack("{s:[s, s]}", "required", "split", "share"));
    return j;
}

static json_t *data_schema(void) {
    return json_pack("{s:s, s:{s:o}, s:{s:s, s:i}, s:o, s:s}", "type", "object", "properties", "preprocess",
                     preprocess_schema("What samples go through before a model; results carry it in their metadata."),
                     "propertyNames", "pattern", "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength", 100,
                     "additionalProperties", set_schema(), "description", "Sets of samples, each under a name.");
}

static json_t *models_schema(void) {
    size_t n;
    const pare_zoo_net *const *nets = pare_zoo_all(&n);
    json_t *names = json_array(), *rules = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(names, json_string(nets[i]->name));
        json_array_append_new(rules, when("zoo", nets[i]->name, pare_zoo_params(nets[i])));
    }
    json_t *properties = json_object();
    json_object_set_new(properties, "zoo",
                        or_substitution(json_pack("{s:o}", "enum", names), "A network pare builds by itself."));
    json_object_set_new(properties, "with", with_property());
    json_object_set_new(properties, "weights",
                        file_path("Weights for it: a .safetensors or .pth file, relative to this file."));
    json_object_set_new(properties, "reinit",
                        json_pack("{s:[{s:s, s:i}, {s:s, s:{s:s, s:i}}], s:s}", "anyOf", "type", "string", "minLength",
                                  1, "type", "array", "items", "type", "string", "minLength", 1, "description",
                                  "Names (globs) that `weights` leaves as they were initialised."));
    json_object_set_new(properties, "onnx", file_path("An ONNX file, relative to this file."));
    json_object_set_new(properties, "preprocess",
                        preprocess_schema("What this model's samples go through, over data.preprocess."));
    json_t *entry = object(properties, NULL);
    json_object_set_new(entry, "oneOf", json_pack("[{s:[s]}, {s:[s]}]", "required", "zoo", "required", "onnx"));
    json_object_set_new(
        entry, "dependentRequired",
        json_pack("{s:[s], s:[s], s:[s, s]}", "with", "zoo", "weights", "zoo", "reinit", "zoo", "weights"));
    if (n)
        json_object_set_new(entry, "allOf", rules);
    else
        json_decref(rules);
    return json_pack("{s:s, s:i, s:{s:s, s:i}, s:o, s:s}", "type", "object", "minProperties", 1, "propertyNames",
                     "pattern", "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength", 100, "additionalProperties", entry,
                     "description", "The models that go in, each under a name.");
}

/* ---- fit ---- */

static json_t *loss_schema(const pare_loss_choice *l) {
    json_t *names = json_pack("[{s:s, s:s}, {s:s, s:s}]", "const", "cross_entropy", "description",
                              "Of the labels; the default.", "const", "mse", "description",
                              "The squared difference to the labels' one-hot rows."),
           *rules = json_array();
    for (size_t i = 0; l && i < l->n_ids; i++) {
        const pare_loss *loss = l->find(l->ctx, l->ids[i]);
        if (!loss) continue;
        json_array_append_new(names, json_pack("{s:s, s:o}", "const", l->ids[i], "description",
                                               pare_json_str(loss->summary ? loss->summary : "")));
        json_array_append_new(rules, when("use", l->ids[i], pare_loss_params(loss)));
    }
    json_array_append_new(names, substitution());
    json_t *use = json_pack("{s:o, s:s}", "anyOf", names, "description", "The loss."), *properties = json_object();
    json_object_set(properties, "use", use);
    json_object_set_new(properties, "with", with_property());
    json_object_set_new(properties, "weight", number(true));
    json_t *entry = object(properties, json_pack("[s]", "use"));
    if (json_array_size(rules))
        json_object_set_new(entry, "allOf", rules);
    else
        json_decref(rules);
    json_t *one = json_pack("{s:[o, o]}", "anyOf", use, entry);
    json_t *many = json_pack("{s:s, s:i, s:O}", "type", "array", "minItems", 1, "items", one);
    return json_pack("{s:[o, o], s:s}", "anyOf", one, many, "description",
                     "What is minimised: a loss, or a list of losses with weights; default: cross_entropy.");
}

static json_t *fit_schema(const pare_loss_choice *losses) {
    json_t *j = pare_params_schema(pare_config_fit_table(PARE_FIT_KEYS)),
           *properties = json_object_get(j, "properties");
    json_t *schedule = pare_params_schema(pare_config_fit_table(PARE_FIT_SCHEDULE));
    json_t *word = json_incref(json_object_get(json_object_get(schedule, "properties"), "kind"));
    json_object_set_new(properties, "schedule",
                        json_pack("{s:[o, o], s:s}", "anyOf", word, schedule, "description",
                                  "How the learning rate moves: a word, or a map."));
    json_object_set_new(properties, "augment", pare_params_schema(pare_config_fit_table(PARE_FIT_AUGMENT)));
    json_object_set_new(properties, "loss", loss_schema(losses));
    json_t *some = words((const char *const[]){"off", "auto", NULL});
    json_array_append_new(json_object_get(some, "enum"), json_false());
    json_object_set_new(properties, "recompute",
                        json_pack("{s:[o, o], s:s}", "anyOf", some, whole(2, PARE_RECOMPUTE_MAX, NULL), "description",
                                  "Less memory for more time, the same result: so many segments of the network "
                                  "compute their activations again for the backward pass; default: off."));
    json_object_set_new(properties, "data",
                        text("The set of `data` it trains on; default: the one called train, or the only one."));
    json_object_set_new(properties, "validate", text("The set that each epoch is measured on."));
    return json_pack("{s:[o, {s:s}], s:s}", "anyOf", j, "type", "null", "description", "How it is trained.");
}

/* {if: use is NAME, then: there is a fit block, or there is none}. */
static json_t *fit_rule(const pare_technique *t) {
    json_t *then = t->flags & PARE_TECHNIQUE_NEEDS_FIT ? json_pack("{s:[s]}", "required", "fit")
                                                       : json_pack("{s:{s:b}}", "properties", "fit", 0);
    return json_pack("{s:{s:{s:{s:s}}, s:[s]}, s:o}", "if", "properties", "use", "const", t->id, "required", "use",
                     "then", then);
}

static json_t *steps_schema(const pare_technique_set *t, const pare_loss_choice *losses) {
    json_t *names = json_array(), *rules = json_array();
    for (size_t i = 0; i < t->n_ids; i++) {
        const pare_technique *technique = t->find(t->ctx, t->ids[i]);
        if (!technique) continue;
        json_array_append_new(names, json_pack("{s:s, s:o}", "const", t->ids[i], "description",
                                               pare_json_str(technique->summary ? technique->summary : "")));
        json_array_append_new(rules, when("use", t->ids[i], pare_technique_params(technique)));
        if (!(technique->flags & PARE_TECHNIQUE_TRAINS) || technique->flags & PARE_TECHNIQUE_NEEDS_FIT)
            json_array_append_new(rules, fit_rule(technique));
    }
    json_array_append_new(names, substitution());
    json_t *properties = json_object();
    json_object_set_new(properties, "fit", fit_schema(losses));
    json_object_set_new(properties, "id", name_schema(false, "The step's name, unique in this file."));
    json_object_set_new(properties, "use", json_pack("{s:o, s:s}", "anyOf", names, "description", "The technique."));
    json_object_set_new(properties, "with", with_property());
    json_object_set_new(properties, "from",
                        text("An earlier step or a model to branch from; default: the step before."));
    json_object_set_new(properties, "model", text("Which of several models to work on, as it stands by now."));
    json_object_set_new(properties, "device",
                        or_substitution(words((const char *const[]){"auto", "cpu", NULL}), "Where it runs."));
    json_t *entry = object(properties, json_pack("[s, s]", "id", "use"));
    json_object_set_new(entry, "not", json_pack("{s:[s, s]}", "required", "from", "model"));
    if (json_array_size(rules))
        json_object_set_new(entry, "allOf", rules);
    else
        json_decref(rules);
    return json_pack("{s:s, s:i, s:o, s:s}", "type", "array", "maxItems", 999, "items", entry, "description",
                     "What is done, in this order. An empty list copies the model.");
}

static json_t *report_schema(void) {
    json_t *metric = or_substitution(words((const char *const[]){
#define WORD(name, bit, text) text,
                                         PARE_METRICS(WORD)
#undef WORD
                                             NULL}),
                                     NULL);
    json_t *many = json_pack("{s:s, s:O}", "type", "array", "items", metric);
    json_t *latency = json_object(), *properties = json_object();
    json_object_set_new(latency, "batch", whole(1, 65536, "Samples at once; default: 1."));
    json_t *numbers = json_pack("{s:s, s:i, s:i, s:b, s:o}", "type", "array", "minItems", 1, "maxItems",
                                PARE_MOST_THREADS, "uniqueItems", 1, "items", whole(0, 1024, NULL));
    json_object_set_new(latency, "threads",
                        json_pack("{s:[o, o], s:s}", "anyOf", whole(0, 1024, NULL), numbers, "description",
                                  "How many, 0 (default) being all; or a list, as [1, 0]: each is measured."));
    json_object_set_new(latency, "runs", whole(0, 1000000, "Of each model; 0 (default): a few seconds' worth."));
    json_object_set_new(properties, "on", text("The set of `data` that accuracy and the like are measured on."));
    json_object_set_new(properties, "latency", object(latency, NULL));
    json_object_set_new(properties, "baseline",
                        text("The step or model that the others are compared with; default: the model that came in."));
    json_object_set_new(properties, "metrics",
                        json_pack("{s:[o, o], s:s}", "anyOf", many, metric, "description",
                                  "What is measured after each step; default: size and gzip."));
    json_t *j = object(properties, NULL);
    json_object_set_new(j, "description", json_string("What report.json says."));
    return j;
}

static json_t *output_schema(void) {
    json_t *properties = json_object();
    json_object_set_new(properties, "dir", file_path("The run folder, relative to this file; default: runs/NAME."));
    json_object_set_new(properties, "gzip", switch_schema(false, "Write model.onnx.gz, too; default: on."));
    json_object_set_new(properties, "pack",
                        switch_schema(true, "Write model.packed.onnx: auto (default) where it saves 10 % or more."));
    json_object_set_new(properties, "external_data",
                        switch_schema(true, "Weights in a file of their own: auto (default) above 2 GB."));
    return json_pack("{s:[o, o], s:s}", "anyOf", file_path("The run folder."), object(properties, NULL), "description",
                     "Where the result goes.");
}

json_t *pare_pipeline_schema(const pare_technique_set *techniques, const pare_loss_choice *losses) {
    json_t *properties = json_object();
    json_object_set_new(properties, "version",
                        json_pack("{s:i, s:s}", "const", 1, "description", "The file format's version."));
    json_object_set_new(properties, "name",
                        name_schema(true, "What the run is called; default: this file's name. ${name} elsewhere."));
    json_object_set_new(
        properties, "seed",
        or_substitution(json_pack("{s:s, s:i, s:I}", "type", "integer", "minimum", 0, "maximum", (json_int_t)INT64_MAX),
                        "Where every random number starts; default: 0."));
    json_object_set_new(properties, "device",
                        or_substitution(words((const char *const[]){"auto", "cpu", NULL}), "Default: auto."));
    json_object_set_new(properties, "models", models_schema());
    json_object_set_new(properties, "data", data_schema());
    json_object_set_new(properties, "steps", steps_schema(techniques, losses));
    json_object_set_new(properties, "report", report_schema());
    json_object_set_new(properties, "output", output_schema());
    json_t *j = json_object();
    json_object_set_new(j, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
    json_object_set_new(j, "title", json_string("pare pipeline, version 1"));
    json_object_update(j, properties = object(properties, json_pack("[s, s, s]", "version", "models", "steps")));
    json_decref(properties);
    return j;
}

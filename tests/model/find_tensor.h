/* tests/model/find_tensor.h - tensors by name, for tests. */
#ifndef TESTS_FIND_TENSOR_H
#define TESTS_FIND_TENSOR_H

#include "model/model.h"

/* The initializer called `name` in the main graph, else in any graph. NULL: none. */
static inline pare_tensor *find_tensor(const pare_model *m, const char *name) {
    for (size_t i = 0; i < m->graphs.len; i++) {
        uint32_t id;
        if (!m->graphs.data[i] || !pare_map_get(&m->graphs.data[i]->names, name, &id)) continue;
        pare_tensor *t = pare_model_tensor(m, pare_model_value(m, id)->tensor);
        if (t) return t;
    }
    return NULL;
}

#endif

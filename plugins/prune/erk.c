/* prune/erk.c - see erk.h. */
#include "erk.h"

static double raw(const prune_erk_layer *l) { return l->count > 0 ? l->dims / l->count : 0; }

void prune_erk(prune_erk_layer *layers, uint64_t n, double sparsity) {
    double epsilon = 0;
    for (uint64_t i = 0; i < n; i++) layers[i].dense = false;
    for (bool again = true; again;) {
        double left = 0, weight = 0, most = 0;
        for (uint64_t i = 0; i < n; i++) {
            const prune_erk_layer *l = &layers[i];
            left += (1 - sparsity) * l->count - (l->dense ? l->count : 0);
            if (l->dense) continue;
            weight += raw(l) * l->count;
            if (raw(l) > most) most = raw(l);
        }
        epsilon = weight > 0 && left > 0 ? left / weight : 0;
        again = false;
        if (epsilon * most <= 1) break;
        for (uint64_t i = 0; i < n; i++) { /* all that are as dense as the densest, as the reference does */
            if (layers[i].dense || raw(&layers[i]) < most) continue;
            layers[i].dense = true;
            again = true;
        }
    }
    for (uint64_t i = 0; i < n; i++) layers[i].sparsity = layers[i].dense ? 0 : 1 - epsilon * raw(&layers[i]);
}

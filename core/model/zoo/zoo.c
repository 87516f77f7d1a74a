/* model/zoo/zoo.c - see zoo.h: the list of networks. May use: layers.h. */
#include "model/zoo/layers.h"

#include <string.h>

static const pare_zoo_net *const NETS[] = {&zoo_resnet18, &zoo_mobilenet_v2};
enum { N_NETS = sizeof NETS / sizeof NETS[0] };

const pare_zoo_net *const *pare_zoo_all(size_t *n) {
    *n = N_NETS;
    return NETS;
}

const pare_zoo_net *pare_zoo_find(const char *name) {
    for (size_t i = 0; i < N_NETS; i++)
        if (!strcmp(NETS[i]->name, name)) return NETS[i];
    return NULL;
}

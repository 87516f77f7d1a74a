/* distill/hinton.h - the parameters that distill.hinton has as a loss and as a technique. May use: common.h. */
#ifndef DISTILL_HINTON_H
#define DISTILL_HINTON_H

#include "common.h"

enum { HINTON_TEACHER, HINTON_WEIGHTS, HINTON_TEMPERATURE, HINTON_ALPHA, HINTON_N_PARAMS };
extern const pare_param hinton_params[HINTON_N_PARAMS];

#endif

/* quantize/weight_only.h - the technique quantize.weights. */
#ifndef QUANTIZE_WEIGHT_ONLY_H
#define QUANTIZE_WEIGHT_ONLY_H

#include <pare/technique.h>

extern const pare_technique quantize_weights;

#endif

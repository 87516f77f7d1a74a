/* train/options.c - see options.h. */
#include "train/options.h"

pare_fit_opts pare_fit_defaults(void) {
    return (pare_fit_opts){
        .epochs = 1,
        .batch = 128,
        .drop_last = true,
        .lr = 0.05,
        .momentum = 0.9,
        .nesterov = true,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .epsilon = 1e-8,
        .weight_decay = 5e-4,
        .schedule = {.kind = PARE_SCHEDULE_COSINE,
                     .warmup = 0.05,
                     .step_epochs = 1,
                     .gamma = 0.1,
                     .power = 1,
                     .pct_start = 0.3,
                     .div_factor = 25,
                     .final_div = 1e4,
                     .momentum_min = 0.85,
                     .momentum_max = 0.95},
        .augment = {.resized_min = 0.08, .resized_max = 1},
        .keep = PARE_KEEP_LAST,
    };
}

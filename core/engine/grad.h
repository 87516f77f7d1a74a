/* engine/grad.h - autodiff: a graph extended by the nodes that compute its gradients.
 *
 * Works on a private copy that is lowered to PARE_ENGINE_OPSET and whose Constant nodes are initializers
 * (pare_grad_prepare does both). What is added are ONNX nodes and nodes of ai.pare.grad (pare/grad_ops.h); one planner,
 * one executor and all backends serve them. Reverse mode: one walk from the loss back, gradients summed where a value
 * fans out, nothing computed for what nothing wants. May use: base, model, sdk.
 */
#ifndef PARE_ENGINE_GRAD_H
#define PARE_ENGINE_GRAD_H

#include "model/model.h"

/* ---- from a model for inference to one that trains ---- */

typedef struct pare_train_form {
    /* Is this initializer trained? NULL: all that are float and reach a node as weights, scales or biases. */
    bool (*trains)(void *ctx, pare_model *m, const pare_tensor *t);
    void *ctx;
    bool freeze_batchnorm; /* statistics stay, and are used as in inference */
    uint64_t seed;         /* of Dropout */
} pare_train_form;

/* What was found and made. Lists are in the model's arena. */
typedef struct pare_trained {
    const char *const *weights; /* names of the initializers that are trained, in the file's order */
    size_t n_weights;
    const char *const *statistics; /* names of the initializers that BatchNormTrain writes over */
    size_t n_statistics;
    const char *const *effects; /* names of the values that are their new contents: to be computed in each run */
    const char *step;           /* an int64 scalar graph input that Dropout draws by, NULL: there is none */
    uint32_t n_batchnorm, n_dropout;
} pare_trained;

/* In place: lowers, makes Constant nodes initializers, BatchNormalization with trained parameters BatchNormTrain and
 * Dropout DropoutTrain. PARE_EUNSUPPORTED, PARE_EINVAL: reported. */
pare_status pare_grad_prepare(pare_model *m, const pare_train_form *form, pare_diags *d, pare_trained *out);

/* After it, and before pare_grad_build: activations behind BatchNormTrain become part of it (relu, high). The value
 * `keep` (0: none) stays what it is. */
void pare_grad_fuse(pare_model *m, uint32_t keep);

/* ---- gradients ---- */

/* grads[i]: the value that is d loss / d wrt[i], 0 where the loss does not depend on it. loss: a scalar of float dtype.
 * Values it adds are called "grad:NAME", nodes after what they differentiate. PARE_EUNSUPPORTED, reported: an op on the
 * path has no gradient; the message names op and node, and what to freeze. Shapes are inferred before and after. */
pare_status pare_grad_build(pare_model *m, uint32_t loss, const uint32_t *wrt, size_t n, pare_diags *d,
                            uint32_t *grads);
/* Has this op a rule? (One that has none may still stand where nothing is differentiated.) */
bool pare_grad_has(const char *domain, const char *op_type);

#endif

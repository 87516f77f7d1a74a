/* tests/abi/layout.h - every struct of the SDK and its fields: S(struct) then F(struct, field) in order.
 *
 * Used by test_plugin_abi.c, which compares sizes and offsets with golden/abi-v1.txt and fails for a struct or field
 * that is missing here. Until 1.0 a change of layout regenerates the table:
 * PARE_GOLDEN_UPDATE=1 build/release/tests/plugin_test_plugin_abi
 */
#ifndef PARE_TESTS_ABI_LAYOUT_H
#define PARE_TESTS_ABI_LAYOUT_H

/* clang-format off */
#define PARE_ABI_LAYOUT(S, F) \
    S(pare_diag) F(pare_diag, size) F(pare_diag, severity) F(pare_diag, code) F(pare_diag, message) \
        F(pare_diag, hint) F(pare_diag, param) F(pare_diag, tensor) F(pare_diag, node) F(pare_diag, src_file) \
        F(pare_diag, src_line) \
    S(pare_param) F(pare_param, size) F(pare_param, type) F(pare_param, flags) F(pare_param, name) \
        F(pare_param, doc) F(pare_param, unit) F(pare_param, dflt) F(pare_param, min) F(pare_param, max) \
        F(pare_param, choices) F(pare_param, columns) F(pare_param, n_columns) F(pare_param, column_stride) \
    S(pare_arg) F(pare_arg, u) F(pare_arg, n) \
    S(pare_host) F(pare_host, size) F(pare_host, abi_minor) F(pare_host, name) F(pare_host, version) \
        F(pare_host, impl) F(pare_host, report) F(pare_host, tick) F(pare_host, scratch) F(pare_host, seed) \
        F(pare_host, parallel) F(pare_host, reduce) F(pare_host, ext) \
    S(pare_technique) F(pare_technique, size) F(pare_technique, flags) F(pare_technique, id) \
        F(pare_technique, version) F(pare_technique, summary) F(pare_technique, params) F(pare_technique, n_params) \
        F(pare_technique, param_stride) F(pare_technique, create) F(pare_technique, check) F(pare_technique, apply) \
        F(pare_technique, destroy) F(pare_technique, loss) \
    S(pare_view) F(pare_view, size) F(pare_view, dtype) F(pare_view, device_type) F(pare_view, device_id) \
        F(pare_view, data) F(pare_view, byte_offset) F(pare_view, dims) F(pare_view, strides) F(pare_view, count) \
        F(pare_view, nbytes) F(pare_view, ndim) F(pare_view, writable) \
    S(pare_tensor_info) F(pare_tensor_info, size) F(pare_tensor_info, dtype) F(pare_tensor_info, name) \
        F(pare_tensor_info, dims) F(pare_tensor_info, count) F(pare_tensor_info, nbytes) F(pare_tensor_info, ndim) \
        F(pare_tensor_info, masked) F(pare_tensor_info, value) F(pare_tensor_info, n_uses) \
    S(pare_tensors_api) F(pare_tensors_api, size) F(pare_tensors_api, reserved) F(pare_tensors_api, next) \
        F(pare_tensors_api, find) F(pare_tensors_api, info) F(pare_tensors_api, borrow) F(pare_tensors_api, release) \
        F(pare_tensors_api, add) F(pare_tensors_api, retype) F(pare_tensors_api, del) \
        F(pare_tensors_api, masked_set) \
    S(pare_node_info) F(pare_node_info, size) F(pare_node_info, graph) F(pare_node_info, name) \
        F(pare_node_info, op_type) F(pare_node_info, domain) F(pare_node_info, label) F(pare_node_info, opset) \
        F(pare_node_info, in) F(pare_node_info, out) F(pare_node_info, n_in) F(pare_node_info, n_out) \
        F(pare_node_info, n_subgraphs) F(pare_node_info, reserved) \
    S(pare_value_info) F(pare_value_info, size) F(pare_value_info, graph) F(pare_value_info, name) \
        F(pare_value_info, kind) F(pare_value_info, dtype) F(pare_value_info, ndim) F(pare_value_info, tensor) \
        F(pare_value_info, dims) F(pare_value_info, symbols) F(pare_value_info, producer) F(pare_value_info, slot) \
        F(pare_value_info, n_uses) \
    S(pare_attribute) F(pare_attribute, size) F(pare_attribute, type) F(pare_attribute, n) F(pare_attribute, i) \
        F(pare_attribute, f) F(pare_attribute, s) F(pare_attribute, ints) F(pare_attribute, floats) \
        F(pare_attribute, strings) F(pare_attribute, tensor) F(pare_attribute, graph) \
    S(pare_constant) F(pare_constant, size) F(pare_constant, tensor) F(pare_constant, scale) \
        F(pare_constant, zero_point) F(pare_constant, axis) F(pare_constant, ndim) F(pare_constant, perm) \
        F(pare_constant, block_size) \
    S(pare_cost) F(pare_cost, size) F(pare_cost, reserved) F(pare_cost, macs) F(pare_cost, parameters) \
        F(pare_cost, bytes) \
    S(pare_graph_api) F(pare_graph_api, size) F(pare_graph_api, reserved) F(pare_graph_api, node_next) \
        F(pare_graph_api, node_info) F(pare_graph_api, subgraph) F(pare_graph_api, value_find) \
        F(pare_graph_api, value_info) F(pare_graph_api, consumer) F(pare_graph_api, input) F(pare_graph_api, output) \
        F(pare_graph_api, attr_get) F(pare_graph_api, const_of) F(pare_graph_api, infer) F(pare_graph_api, cost) \
        F(pare_graph_api, node_add) F(pare_graph_api, node_del) F(pare_graph_api, input_set) \
        F(pare_graph_api, replace_uses) F(pare_graph_api, value_rename) F(pare_graph_api, attr_set) \
        F(pare_graph_api, attr_del) F(pare_graph_api, name_fresh) F(pare_graph_api, meta_get) \
        F(pare_graph_api, meta_set) F(pare_graph_api, opset_need) F(pare_graph_api, mark) F(pare_graph_api, undo) \
        F(pare_graph_api, keep) F(pare_graph_api, value_retype) \
    S(pare_layer) F(pare_layer, size) F(pare_layer, node) F(pare_layer, slot) F(pare_layer, tensor) \
        F(pare_layer, scale) F(pare_layer, zero_point) F(pare_layer, name) F(pare_layer, op_type) \
        F(pare_layer, node_name) F(pare_layer, label) F(pare_layer, in_axis) F(pare_layer, out_axis) \
        F(pare_layer, quant_axis) F(pare_layer, groups) F(pare_layer, n_uses) F(pare_layer, reserved) \
        F(pare_layer, block_size) \
    S(pare_layers_api) F(pare_layers_api, size) F(pare_layers_api, reserved) F(pare_layers_api, list) \
        F(pare_layers_api, select) \
    S(pare_pass_api) F(pare_pass_api, size) F(pare_pass_api, reserved) F(pare_pass_api, name) F(pare_pass_api, run) \
    S(pare_layer_note) F(pare_layer_note, size) F(pare_layer_note, n_extra) F(pare_layer_note, name) \
        F(pare_layer_note, requested) F(pare_layer_note, achieved) F(pare_layer_note, keys) \
        F(pare_layer_note, values) \
    S(pare_note_api) F(pare_note_api, size) F(pare_note_api, reserved) F(pare_note_api, number) \
        F(pare_note_api, text) F(pare_note_api, layer) F(pare_note_api, curve) F(pare_note_api, file) \
    S(pare_runner_request) F(pare_runner_request, size) F(pare_runner_request, flags) \
        F(pare_runner_request, values) F(pare_runner_request, n_values) F(pare_runner_request, data) \
        F(pare_runner_request, samples) F(pare_runner_request, batch) F(pare_runner_request, reserved) \
    S(pare_runner_batch) F(pare_runner_batch, size) F(pare_runner_batch, reserved) F(pare_runner_batch, first) \
        F(pare_runner_batch, n) F(pare_runner_batch, samples) F(pare_runner_batch, labels) F(pare_runner_batch, total) \
    S(pare_runner_set) F(pare_runner_set, size) F(pare_runner_set, labelled) F(pare_runner_set, count) \
        F(pare_runner_set, sha256) F(pare_runner_set, reserved) \
    S(pare_run_api) F(pare_run_api, size) F(pare_run_api, reserved) F(pare_run_api, open) F(pare_run_api, next) \
        F(pare_run_api, value) F(pare_run_api, rewind) F(pare_run_api, close) F(pare_run_api, set) \
        F(pare_run_api, fingerprint) F(pare_run_api, evaluate) F(pare_run_api, int8) F(pare_run_api, sample_name) \
    S(pare_layout) F(pare_layout, kind) F(pare_layout, reserved) F(pare_layout, id) F(pare_layout, nbytes) \
    S(pare_operand) F(pare_operand, size) F(pare_operand, flags) F(pare_operand, dtype) F(pare_operand, ndim) \
        F(pare_operand, dims) F(pare_operand, layout) F(pare_operand, data) F(pare_operand, scale) \
        F(pare_operand, zero_point) F(pare_operand, n_scales) F(pare_operand, axis) F(pare_operand, reserved) \
    S(pare_post_op) F(pare_post_op, size) F(pare_post_op, kind) F(pare_post_op, alpha) F(pare_post_op, beta) \
        F(pare_post_op, operand) F(pare_post_op, dtype) \
    S(pare_named_attribute) F(pare_named_attribute, name) F(pare_named_attribute, value) \
        F(pare_named_attribute, tensor) \
    S(pare_kernel_spec) F(pare_kernel_spec, size) F(pare_kernel_spec, flags) F(pare_kernel_spec, op_type) \
        F(pare_kernel_spec, domain) F(pare_kernel_spec, version) F(pare_kernel_spec, node) F(pare_kernel_spec, attrs) \
        F(pare_kernel_spec, in) F(pare_kernel_spec, out) F(pare_kernel_spec, post) F(pare_kernel_spec, n_attrs) \
        F(pare_kernel_spec, n_in) F(pare_kernel_spec, n_out) F(pare_kernel_spec, n_post) \
    S(pare_kernel_info) F(pare_kernel_info, size) F(pare_kernel_info, n_post) F(pare_kernel_info, name) \
        F(pare_kernel_info, in) F(pare_kernel_info, out) F(pare_kernel_info, pack) F(pare_kernel_info, scratch) \
        F(pare_kernel_info, in_place) F(pare_kernel_info, view) \
    S(pare_device_opts) F(pare_device_opts, size) F(pare_device_opts, index) F(pare_device_opts, threads) \
        F(pare_device_opts, reserved) F(pare_device_opts, memory) \
    S(pare_loss_io) F(pare_loss_io, size) F(pare_loss_io, logits) F(pare_loss_io, labels) F(pare_loss_io, targets) \
        F(pare_loss_io, teachers) F(pare_loss_io, n_teachers) F(pare_loss_io, classes) \
        F(pare_loss_io, epoch) F(pare_loss_io, reserved) \
    S(pare_loss) F(pare_loss, size) F(pare_loss, flags) F(pare_loss, id) F(pare_loss, version) F(pare_loss, summary) \
        F(pare_loss, params) F(pare_loss, n_params) F(pare_loss, param_stride) F(pare_loss, create) \
        F(pare_loss, build) F(pare_loss, destroy) F(pare_loss, evaluate) \
    S(pare_loss_values) F(pare_loss_values, size) F(pare_loss_values, reserved) F(pare_loss_values, rows) \
        F(pare_loss_values, classes) F(pare_loss_values, logits) F(pare_loss_values, labels) \
        F(pare_loss_values, targets) F(pare_loss_values, teachers) F(pare_loss_values, n_teachers) \
        F(pare_loss_values, epoch) \
    S(pare_fit_request) F(pare_fit_request, size) F(pare_fit_request, flags) F(pare_fit_request, loss) \
        F(pare_fit_request, loss_args) \
    S(pare_recalibrate_request) F(pare_recalibrate_request, size) F(pare_recalibrate_request, batch) \
        F(pare_recalibrate_request, data) F(pare_recalibrate_request, samples) F(pare_recalibrate_request, momentum) \
    S(pare_fit_state) F(pare_fit_state, size) F(pare_fit_state, epoch) F(pare_fit_state, step) \
        F(pare_fit_state, steps) F(pare_fit_state, steps_per_epoch) F(pare_fit_state, loss) F(pare_fit_state, lr) \
    S(pare_fit_api) F(pare_fit_api, size) F(pare_fit_api, reserved) F(pare_fit_api, open) F(pare_fit_api, hook) \
        F(pare_fit_api, run) F(pare_fit_api, state) F(pare_fit_api, weights_get) F(pare_fit_api, weights_set) \
        F(pare_fit_api, gradient) F(pare_fit_api, mask_get) F(pare_fit_api, mask_set) F(pare_fit_api, close) \
        F(pare_fit_api, recalibrate) F(pare_fit_api, has) \
    S(pare_backend) F(pare_backend, size) F(pare_backend, host_memory) F(pare_backend, id) F(pare_backend, version) \
        F(pare_backend, summary) F(pare_backend, count) F(pare_backend, open) F(pare_backend, close) \
        F(pare_backend, describe) F(pare_backend, alloc) F(pare_backend, free) F(pare_backend, copy) \
        F(pare_backend, fill) F(pare_backend, sync) F(pare_backend, kernel) F(pare_backend, kernel_info) \
        F(pare_backend, kernel_free) F(pare_backend, pack) F(pare_backend, run) F(pare_backend, layout_name) \
    S(pare_plugin) F(pare_plugin, size) F(pare_plugin, abi_major) F(pare_plugin, abi_minor) F(pare_plugin, id) \
        F(pare_plugin, version) F(pare_plugin, vendor) F(pare_plugin, license) F(pare_plugin, techniques) \
        F(pare_plugin, backends) F(pare_plugin, losses)
/* clang-format on */

#endif

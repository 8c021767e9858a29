"""The public Python surface of TensorRT's run time, by version: what `fake_tensorrt` may offer and no more.

Source: the names bound in NVIDIA/TensorRT, python/src/infer/pyCore.cpp, at release/8.5, 8.6, 10.16 and 11.1.
"""

from __future__ import annotations

SURFACE = {
    "Runtime": {
        "8.5": """
            DLA_core deserialize_cuda_engine error_recorder gpu_allocator logger max_threads num_DLA_cores
        """,
        "8.6": """
            DLA_core deserialize_cuda_engine engine_host_code_allowed error_recorder get_plugin_registry
            gpu_allocator load_runtime logger max_threads num_DLA_cores tempfile_control_flags
            temporary_directory
        """,
        "10.16": """
            DLA_core deserialize_cuda_engine engine_host_code_allowed error_recorder get_plugin_registry
            gpu_allocator load_runtime logger max_threads num_DLA_cores tempfile_control_flags
            temporary_directory
        """,
        "11.1": """
            DLA_core deserialize_cuda_engine engine_host_code_allowed error_recorder get_plugin_registry
            gpu_allocator load_runtime logger max_threads num_DLA_cores tempfile_control_flags
            temporary_directory
        """,
    },
    "ICudaEngine": {
        "8.5": """
            binding_is_input create_engine_inspector create_execution_context
            create_execution_context_without_device_memory device_memory_size engine_capability error_recorder
            get_binding_bytes_per_component get_binding_components_per_element get_binding_dtype
            get_binding_format get_binding_format_desc get_binding_index get_binding_name get_binding_shape
            get_binding_vectorized_dim get_location get_profile_shape get_profile_shape_input
            get_tensor_bytes_per_component get_tensor_components_per_element get_tensor_dtype get_tensor_format
            get_tensor_format_desc get_tensor_location get_tensor_mode get_tensor_name get_tensor_profile_shape
            get_tensor_shape get_tensor_vectorized_dim has_implicit_batch_dimension is_execution_binding
            is_shape_binding is_shape_inference_io max_batch_size name num_bindings num_io_tensors num_layers
            num_optimization_profiles profiling_verbosity refittable serialize tactic_sources
        """,
        "8.6": """
            binding_is_input create_engine_inspector create_execution_context
            create_execution_context_without_device_memory device_memory_size engine_capability error_recorder
            get_binding_bytes_per_component get_binding_components_per_element get_binding_dtype
            get_binding_format get_binding_format_desc get_binding_index get_binding_name get_binding_shape
            get_binding_vectorized_dim get_location get_profile_shape get_profile_shape_input
            get_tensor_bytes_per_component get_tensor_components_per_element get_tensor_dtype get_tensor_format
            get_tensor_format_desc get_tensor_location get_tensor_mode get_tensor_name get_tensor_profile_shape
            get_tensor_shape get_tensor_vectorized_dim hardware_compatibility_level has_implicit_batch_dimension
            is_execution_binding is_shape_binding is_shape_inference_io max_batch_size name num_aux_streams
            num_bindings num_io_tensors num_layers num_optimization_profiles profiling_verbosity refittable
            serialize tactic_sources
        """,
        "10.16": """
            create_engine_inspector create_execution_context create_execution_context_without_device_memory
            create_runtime_config create_serialization_config device_memory_size device_memory_size_v2
            engine_capability error_recorder get_aliased_input_tensor get_device_memory_size_for_profile
            get_device_memory_size_for_profile_v2 get_engine_stat get_tensor_bytes_per_component
            get_tensor_components_per_element get_tensor_dtype get_tensor_format get_tensor_format_desc
            get_tensor_location get_tensor_mode get_tensor_name get_tensor_profile_shape
            get_tensor_profile_values get_tensor_shape get_tensor_vectorized_dim
            get_weight_streaming_automatic_budget hardware_compatibility_level has_implicit_batch_dimension
            is_debug_tensor is_shape_inference_io minimum_weight_streaming_budget name num_aux_streams
            num_io_tensors num_layers num_optimization_profiles profiling_verbosity refittable serialize
            serialize_with_config streamable_weights_size tactic_sources weight_streaming_budget
            weight_streaming_budget_v2 weight_streaming_scratch_memory_size
        """,
        "11.1": """
            create_engine_inspector create_execution_context create_runtime_config create_serialization_config
            device_memory_size_v2 engine_capability error_recorder get_aliased_input_tensor
            get_device_memory_size_for_profile_v2 get_engine_stat get_tensor_bytes_per_component
            get_tensor_components_per_element get_tensor_dtype get_tensor_format get_tensor_format_desc
            get_tensor_location get_tensor_mode get_tensor_name get_tensor_profile_shape
            get_tensor_profile_values get_tensor_shape get_tensor_vectorized_dim
            get_weight_streaming_automatic_budget hardware_compatibility_level is_debug_tensor
            is_shape_inference_io name num_aux_streams num_io_tensors num_layers num_optimization_profiles
            profiling_verbosity refittable serialize serialize_with_config streamable_weights_size
            tactic_sources weight_streaming_budget_v2 weight_streaming_scratch_memory_size
        """,
    },
    "IExecutionContext": {
        "8.5": """
            active_optimization_profile all_binding_shapes_specified all_shape_inputs_specified debug_sync
            device_memory engine enqueue_emits_profile error_recorder execute execute_async execute_async_v2
            execute_async_v3 execute_v2 get_binding_shape get_input_consumed_event get_max_output_size
            get_output_allocator get_shape get_strides get_tensor_address get_tensor_shape get_tensor_strides
            infer_shapes name nvtx_verbosity persistent_cache_limit profiler report_to_profiler
            set_binding_shape set_input_consumed_event set_input_shape set_optimization_profile_async
            set_output_allocator set_shape_input set_tensor_address temporary_allocator
        """,
        "8.6": """
            active_optimization_profile all_binding_shapes_specified all_shape_inputs_specified debug_sync
            device_memory engine enqueue_emits_profile error_recorder execute execute_async execute_async_v2
            execute_async_v3 execute_v2 get_binding_shape get_input_consumed_event get_max_output_size
            get_output_allocator get_shape get_strides get_tensor_address get_tensor_shape get_tensor_strides
            infer_shapes name nvtx_verbosity persistent_cache_limit profiler report_to_profiler set_aux_streams
            set_binding_shape set_input_consumed_event set_input_shape set_optimization_profile_async
            set_output_allocator set_shape_input set_tensor_address temporary_allocator
        """,
        "10.16": """
            active_optimization_profile all_binding_shapes_specified all_shape_inputs_specified debug_sync
            device_memory engine enqueue_emits_profile error_recorder execute_async_v3 execute_v2
            get_debug_listener get_debug_state get_input_consumed_event get_max_output_size get_output_allocator
            get_runtime_config get_tensor_address get_tensor_shape get_tensor_strides infer_shapes name
            nvtx_verbosity persistent_cache_limit profiler report_to_profiler set_all_tensors_debug_state
            set_aux_streams set_communicator set_debug_listener set_device_memory set_input_consumed_event
            set_input_shape set_optimization_profile_async set_output_allocator set_tensor_address
            set_tensor_debug_state temporary_allocator unfused_tensors_debug_state
            update_device_memory_size_for_shapes
        """,
        "11.1": """
            active_optimization_profile all_binding_shapes_specified debug_sync device_memory engine
            enqueue_emits_profile error_recorder execute_async_v3 execute_v2 get_debug_listener get_debug_state
            get_input_consumed_event get_max_output_size get_output_allocator get_runtime_config
            get_tensor_address get_tensor_shape get_tensor_strides infer_shapes name nvtx_verbosity
            persistent_cache_limit profiler report_to_profiler set_all_tensors_debug_state set_aux_streams
            set_communicator set_debug_listener set_device_memory set_input_consumed_event set_input_shape
            set_optimization_profile_async set_output_allocator set_tensor_address set_tensor_debug_state
            temporary_allocator unfused_tensors_debug_state update_device_memory_size_for_shapes
        """,
    },
}
"""Names by class and version."""

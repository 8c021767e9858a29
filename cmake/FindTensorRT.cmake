# Finds TensorRT 8.5 to 11: its headers, and its libraries where they are.
#
# Give TENSORRT_ROOT (a variable of CMake or of the environment), a folder with include/ and lib/; or
# TensorRT_INCLUDE_DIR alone, where headers are enough. Libraries are required as COMPONENTS: nvinfer, nvinfer_plugin.
#
# Defines TensorRT_VERSION (major.minor.patch), and the targets TensorRT::headers, TensorRT::nvinfer and
# TensorRT::nvinfer_plugin, the latter two where the libraries were found.

set(_TensorRT_roots ${TENSORRT_ROOT} $ENV{TENSORRT_ROOT} ${TensorRT_ROOT} $ENV{TensorRT_ROOT})

find_path(TensorRT_INCLUDE_DIR NvInferVersion.h
  HINTS ${_TensorRT_roots} PATH_SUFFIXES include include/x86_64-linux-gnu include/aarch64-linux-gnu)
mark_as_advanced(TensorRT_INCLUDE_DIR)

# A number is written out up to 10.x, and behind a name of its own from then on.
function(_TensorRT_read_number header part result)
  file(STRINGS "${header}" line REGEX "#define (NV_TENSORRT|TRT)_${part}(_ENTERPRISE)? +[0-9]+" LIMIT_COUNT 1)
  string(REGEX MATCH "[0-9]+" number "${line}")
  set(${result} "${number}" PARENT_SCOPE)
endfunction()

if(TensorRT_INCLUDE_DIR)
  foreach(_part MAJOR MINOR PATCH)
    _TensorRT_read_number("${TensorRT_INCLUDE_DIR}/NvInferVersion.h" ${_part} _TensorRT_${_part})
  endforeach()
  set(TensorRT_VERSION "${_TensorRT_MAJOR}.${_TensorRT_MINOR}.${_TensorRT_PATCH}")
endif()

foreach(_library nvinfer nvinfer_plugin)
  # Python's packages of TensorRT hold no plain libnvinfer.so.
  find_library(TensorRT_${_library}_LIBRARY NAMES ${_library} lib${_library}.so.${_TensorRT_MAJOR}
    HINTS ${_TensorRT_roots} PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu lib/aarch64-linux-gnu)
  mark_as_advanced(TensorRT_${_library}_LIBRARY)
  if(TensorRT_${_library}_LIBRARY)
    set(TensorRT_${_library}_FOUND TRUE)
  endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
  REQUIRED_VARS TensorRT_INCLUDE_DIR VERSION_VAR TensorRT_VERSION HANDLE_COMPONENTS
  REASON_FAILURE_MESSAGE "give -DTENSORRT_ROOT=FOLDER, the folder of TensorRT with include/ and lib/")

if(TensorRT_FOUND AND NOT TARGET TensorRT::headers)
  add_library(TensorRT::headers INTERFACE IMPORTED)
  set_target_properties(TensorRT::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${TensorRT_INCLUDE_DIR}")
  foreach(_library nvinfer nvinfer_plugin)
    if(TensorRT_${_library}_LIBRARY)
      add_library(TensorRT::${_library} UNKNOWN IMPORTED)
      set_target_properties(TensorRT::${_library} PROPERTIES
        IMPORTED_LOCATION "${TensorRT_${_library}_LIBRARY}" INTERFACE_LINK_LIBRARIES TensorRT::headers)
    endif()
  endforeach()
  if(TARGET TensorRT::nvinfer_plugin AND TARGET TensorRT::nvinfer)
    set_property(TARGET TensorRT::nvinfer_plugin APPEND PROPERTY INTERFACE_LINK_LIBRARIES TensorRT::nvinfer)
  endif()
endif()

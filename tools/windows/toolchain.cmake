# Builds for 64-bit Windows with Debian's MinGW-w64 (POSIX threads). Links the compiler's libraries
# statically, so that none has to be found at run time.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR AMD64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
foreach(kind EXE MODULE SHARED)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-static")
endforeach()

set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/run")

# The interpreter that tools/windows/setup unpacked. FORCE, because a build through pip sets the
# host's headers on the command line.
if(DEFINED ENV{IOCP_SOCK_WINDOWS})
  set(windows_home "$ENV{IOCP_SOCK_WINDOWS}")
else()
  cmake_path(SET windows_home NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../../build/windows")
endif()
set(PYTHON_MODULE_EXT_SUFFIX .cp311-win_amd64.pyd CACHE STRING "" FORCE)
foreach(prefix Python Python3)
  set(${prefix}_INCLUDE_DIR "${windows_home}/python/include" CACHE PATH "" FORCE)
  set(${prefix}_LIBRARY "${windows_home}/python/libs/python311.lib" CACHE FILEPATH "" FORCE)
endforeach()

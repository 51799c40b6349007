# One way to declare a library, a program and a test, so that every target is
# built with the same warnings and sanitizers.

function(thresher_compile_options target)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
                                           -Woverloaded-virtual -Wunused
                                           # Members left out have their defaults.
                                           -Wno-missing-field-initializers)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    target_compile_options(${target} PRIVATE -Wthread-safety)
  endif()
  if(THRESHER_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(THRESHER_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${THRESHER_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=undefined)
    target_link_options(${target} PUBLIC -fsanitize=${THRESHER_SANITIZE})
  endif()
endfunction()

# thresher_library(NAME SOURCES a.cc b.cc [PUBLIC deps...] [PRIVATE deps...])
function(thresher_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  thresher_compile_options(${name})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# thresher_program(NAME SOURCES main.cc [LINK deps...])
function(thresher_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  thresher_compile_options(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
endfunction()

# thresher_test(NAME SOURCES x_test.cc [LINK deps...] [LABELS core] [ARGS ...])
# Labels choose what a sanitizer build runs: core and jobs are free of gRPC.
function(thresher_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  thresher_compile_options(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

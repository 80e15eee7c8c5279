# Configures and builds examples/spike as a project of its own (cmake -P; SOURCE, BUILD, INCLUDE, COMPILER).
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${BUILD} -D PENSTOCK_INCLUDE_DIR=${INCLUDE} -D CMAKE_C_COMPILER=${COMPILER}
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD} COMMAND_ERROR_IS_FATAL ANY)

# One table: file name suffix -> instruction set flags. A file named <anything>avx2.cc is compiled with the avx2 row, and so on;
# g++ 12 reports the "undefined" operands of its own intrinsics as uninitialized, so that warning is off there.
# everything else is compiled for the baseline (x86-64-v1). -O3 always: register tiles are loops of constant length that must be unrolled
# (-O2 keeps them in memory), and at -O0 inline functions would leave ISA objects as weak symbols.
set(NIBBLE_ISA_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(NIBBLE_ISA_avx512 ${NIBBLE_ISA_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(NIBBLE_ISA_avx512vnni ${NIBBLE_ISA_avx512} -mavx512vnni)
set(NIBBLE_ISAS avx512vnni avx512 avx2)

function(nibble_set_isa_flags)
  foreach(file ${ARGN})
    # Loops over arrays of bytes with a check for each shift and sum: ten minutes of one file. Addresses are checked.
    if(NIBBLE_SANITIZE AND file MATCHES "dots_scalar\\.cc$")
      set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "-fno-sanitize=undefined")
    endif()
    foreach(isa ${NIBBLE_ISAS})
      if(file MATCHES "${isa}\\.cc$")
        set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${NIBBLE_ISA_${isa}};-O3;-fno-sanitize=all;-Wno-maybe-uninitialized;-Wno-uninitialized"
                                    SKIP_PRECOMPILE_HEADERS ON)
        break()
      endif()
    endforeach()
  endforeach()
endfunction()

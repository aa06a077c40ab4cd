// The public header is C11, and alone sufficient.
#include <vcl/vppcom.h>

#include <assert.h>

#include "header_values.inc"

// Called from the C++ side: the functions have C linkage.
int vppcom_from_c(void) { return vppcom_session_index(0x02000005u); }

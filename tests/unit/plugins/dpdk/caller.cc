// A shared object that calls a function of another (imports_test.cc).
#include <unistd.h>

extern "C" [[gnu::visibility("default")]] pid_t call_getppid() { return ::getppid(); }

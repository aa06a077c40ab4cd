// Whether a file can be given to dlopen() without harm, looked at from outside.
#pragma once
#include <string>

#include <hostloom/status.h>

namespace loom {

// An ELF shared object for this machine, whole: every byte that the dynamic loader maps is there. A
// file that was cut off (a copy that is not complete) would kill the process by SIGBUS, not be
// refused. The message says why and does not name the file.
Result<void> check_elf_file(const std::string& file);

}  // namespace loom

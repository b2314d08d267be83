// What happens when somebody truncates a file while it is mapped: reading a page that is gone raises SIGBUS, which ends
// a process. With the guard installed the page reads as zeros instead, and MappedFile::require_whole, which readers
// call after each piece, throws an IoError that names the file.
#pragma once

#include <cstddef>

namespace mixgrad {

// Installs the guard for the whole process; for programs, not for libraries. SIGBUS for any other address ends the
// process as before.
void guard_mapped_files();

// For MappedFile: the mapping [begin, begin + bytes) is guarded until forget_mapping(begin). At most 256 at a time are;
// further ones are left unguarded.
void note_mapping(const void* begin, std::size_t bytes);
void forget_mapping(const void* begin);

}  // namespace mixgrad

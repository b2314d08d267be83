// Reads the options of one verb: presets first, then the config file, then the command line, so that the last one wins;
// values stored by a resumed run stand above all of them.
#pragma once

#include <string>
#include <vector>

#include "apps/options/verb.h"

namespace mixgrad::app {

// Sets the variables of the verb's options and runs it; or prints its help (--help) or all values (--print-config).
// Returns an exit code. ValueError for options that are unknown, given twice, without effect or of the wrong value;
// FormatError, IoError for stored options that cannot be read; and whatever the verb throws.
int run_verb(const std::string& name, Verb& verb, const std::vector<std::string>& arguments);

}  // namespace mixgrad::app

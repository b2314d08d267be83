// unsigned_nan: a number to print. The C library writes a NaN whose sign bit is set as "-nan", a sign without meaning.
#pragma once

#include <cmath>

namespace mixgrad {

inline double unsigned_nan(double value) { return std::isnan(value) ? std::abs(value) : value; }

}  // namespace mixgrad

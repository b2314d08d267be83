#include "apps/report/student.h"

#include <array>

namespace mixgrad::app {

double student_quantile(int degrees) {
  static constexpr std::array<double, 30> kTable{12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060,
                                                 2.2622,  2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199,
                                                 2.1098,  2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639,
                                                 2.0595,  2.0555, 2.0518, 2.0484, 2.0452, 2.0423};
  if (degrees <= 30) return kTable[static_cast<std::size_t>(degrees < 1 ? 0 : degrees - 1)];
  constexpr double kNormal = 1.959964;
  constexpr double kCube = kNormal * kNormal * kNormal;
  const double n = degrees;
  return kNormal + (kCube + kNormal) / (4 * n) +
         (5 * kCube * kNormal * kNormal + 16 * kCube + 3 * kNormal) / (96 * n * n);
}

}  // namespace mixgrad::app

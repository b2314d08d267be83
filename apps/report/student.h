// Student's t distribution, for intervals from a few seeds.
#pragma once

namespace mixgrad::app {

// The value that a t-distributed variable with `degrees` >= 1 degrees of freedom exceeds in size in 5 of 100 cases
// (two-sided): mean +- this times the standard error is a 95 % interval. To 4 digits; from 31 degrees on by the
// expansion of Cornish and Fisher, Abramowitz and Stegun 26.7.5.
double student_quantile(int degrees);

}  // namespace mixgrad::app

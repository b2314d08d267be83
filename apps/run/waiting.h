// How threads wait for each other at the end of a parallel loop.
#pragma once

namespace mixgrad::app {

// To be called first in main, with its argv. GCC's OpenMP (libgomp) lets a waiting thread spin for several milliseconds
// before it sleeps. Alone on the machine that costs nothing; beside another busy process the thread that is waited for
// gets no core meanwhile, once for each of the hundreds of parallel loops of a step. So, unless OMP_WAIT_POLICY or
// GOMP_SPINCOUNT says otherwise, this sets GOMP_SPINCOUNT to 5000 (100 to 300 us; docs/performance.md); and because the
// library reads that only while it is loaded, the program begins once more. Where that is refused (no /proc), it goes
// on as it is.
void spin_briefly(char** argv);

}  // namespace mixgrad::app

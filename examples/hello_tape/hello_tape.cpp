#include "mixgrad/mixgrad.h"

#include <cstdio>
using namespace mixgrad;

int main() {
  Tensor w = Tensor::full({8, 4}, DType::f32, 0.1);
  Tape tape;                                            // records from here on
  tape.watch(w);                                        // leaf 0
  Tensor x = Tensor::full({2, 3, 4}, DType::f32, 1.0);  // [B,T,D]
  Tensor targets = Tensor::zeros({2, 3}, DType::i32);
  Tensor loss = linear_cross_entropy(x, w, targets);
  Gradients g = std::move(tape).backward(loss);  // consumes the tape
  std::printf("loss %.4f, d loss / d w[0,0] = %.4f\n", loss.item(), g.of(0).at(0));
}

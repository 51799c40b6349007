// Adam, on plain arrays.
#ifndef THRESHER_CORE_PRUNING_ADAM_H_
#define THRESHER_CORE_PRUNING_ADAM_H_

#include <cstdint>
#include <span>

namespace thresher {

// Step number `step` (from 1) with the usual 0.9, 0.999 and 1e-8:
//   g <- gradient + l2 w,  m <- 0.9 m + 0.1 g,  v <- 0.999 v + 0.001 g^2,
//   w <- (1 - learning_rate weight_decay) w
//        - learning_rate (m / (1 - 0.9^step)) / (sqrt(v / (1 - 0.999^step)) + 1e-8).
// All spans have the same length; start with moments of 0. In float, as its models are.
// Sources: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015; Loshchilov and
// Hutter, "Decoupled weight decay regularization", ICLR 2019.
void AdamStep(double learning_rate, double weight_decay, double l2, int64_t step,
              std::span<const float> gradient, std::span<float> weight,
              std::span<float> first_moment, std::span<float> second_moment);

}  // namespace thresher

#endif  // THRESHER_CORE_PRUNING_ADAM_H_

#include "core/recovery/conditioning.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "Eigen/Cholesky"
#include "Eigen/Core"
#include "Eigen/Eigenvalues"
#include "core/gates/random_gates.h"
#include "core/recovery/normal_equations.h"
#include "core/recovery/normal_matrix.h"

namespace thresher {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using Operator = std::function<VectorXd(const VectorXd&)>;

constexpr double kDependent = 1e-12;
constexpr double kTolerance = 1e-4;
constexpr double kRounding = 1e-14;  // of products with columns of norm 1
constexpr int kDenseProducts = 300;
constexpr int kMinProducts = 12;
constexpr int kMaxProducts = 300;
constexpr double kMaxMultiplyAdds = 5e9;  // of each of the two eigenvalues
constexpr int kInverseIterations = 4;
constexpr Index kInverseColumns = 64;

VectorXd RandomUnitVector(Index size) {
  CounterRandom random(/*seed=*/1, /*stream=*/0);
  VectorXd vector(size);
  for (Index e = 0; e < size; ++e) vector[e] = random.NextNormal();
  return vector.normalized();
}

enum class Extreme { kSmallest, kLargest };

struct Eigenvalue {
  double value = 0;
  bool converged = false;
};

// Conjugate gradients on the Rayleigh quotient of a symmetric positive semi-definite matrix:
// each step takes the best vector of the span of the iterate, the preconditioned residual and
// the last direction.
Eigenvalue ExtremeEigenvalue(const Engine& engine, Extreme extreme, const Operator& apply,
                             const Operator& precondition, VectorXd x, int max_products) {
  constexpr double kNegligible = 1e-10;
  VectorXd image = apply(x);
  VectorXd direction;  // empty: none yet
  VectorXd direction_image;
  Eigenvalue result;
  for (int k = 1; !engine.stop_requested(); ++k) {
    result.value = x.dot(image);
    const VectorXd residual = image - result.value * x;
    if (residual.norm() <= std::max(kTolerance * result.value, kRounding) ||
        (extreme == Extreme::kSmallest && result.value <= kDependent)) {
      result.converged = true;
      break;
    }
    if (k >= max_products) break;
    MatrixXd basis = x;
    MatrixXd images = image;
    const auto append = [&](const VectorXd& vector, const VectorXd& vector_image) {
      basis.conservativeResize(Eigen::NoChange, basis.cols() + 1);
      images.conservativeResize(Eigen::NoChange, images.cols() + 1);
      basis.col(basis.cols() - 1) = vector;
      images.col(images.cols() - 1) = vector_image;
    };
    if (direction.size() > 0) {
      const double along = x.dot(direction);
      direction -= along * x;
      direction_image -= along * image;
      const double norm = direction.norm();
      if (norm > kNegligible) append(direction / norm, direction_image / norm);
    }
    VectorXd entering = precondition(residual);
    const double before = entering.norm();
    // Twice, as once leaves rounding of the size of the cancelled part.
    for (int pass = 0; pass < 2; ++pass) entering -= basis * (basis.transpose() * entering);
    if (entering.norm() > kNegligible * before) {
      entering.normalize();
      append(entering, apply(entering));
    }
    if (basis.cols() == 1) {
      result.converged = true;  // the span is invariant
      break;
    }
    const MatrixXd projected = basis.transpose() * images;
    const Eigen::SelfAdjointEigenSolver<MatrixXd> small((projected + projected.transpose()) / 2);
    const Index chosen = extreme == Extreme::kSmallest ? 0 : basis.cols() - 1;
    VectorXd step = small.eigenvectors().col(chosen);
    const VectorXd next = basis * step;
    const VectorXd next_image = images * step;
    step[0] = 0;
    direction = basis * step;
    direction_image = images * step;
    const double norm = next.norm();
    x = next / norm;
    image = next_image / norm;
  }
  return result;
}

// min_e worth[e] / [ (L L^T)^-1 ]_ee over the first entries, those that have a worth, a block of
// columns of L^-1 at a time so that a stop request is noticed in between.
double SmallestSaliency(const Engine& engine, const Eigen::LLT<MatrixXd>& factor,
                        const VectorXd& worth) {
  const Index size = factor.rows();
  double smallest = std::numeric_limits<double>::infinity();
  for (Index first = 0; first < worth.size() && !engine.stop_requested();
       first += kInverseColumns) {
    const Index rows = size - first;
    const Index columns = std::min(kInverseColumns, worth.size() - first);
    MatrixXd inverse = MatrixXd::Identity(rows, columns);
    factor.matrixLLT()
        .bottomRightCorner(rows, rows)
        .triangularView<Eigen::Lower>()
        .solveInPlace(inverse);
    for (Index c = 0; c < columns; ++c) {
      smallest = std::min(smallest, worth[first + c] / inverse.col(c).squaredNorm());
    }
  }
  return smallest;
}

}  // namespace

double Conditioning::kappa() const {
  return smallest_eigenvalue > 0 ? largest_eigenvalue / smallest_eigenvalue
                                 : std::numeric_limits<double>::infinity();
}

std::vector<double> GatedColumnNorms(Engine& engine, const Design& design, const GateMasks& masks,
                                     const SparseRows& support) {
  std::vector<double> norms(support.nonzeros());
  engine.pool.ParallelFor(support.num_rows(), [&](int64_t row, int) {
    for (int64_t e = support.row_begin[row]; e < support.row_begin[row + 1]; ++e) {
      const float* column = design.columns.get() + support.column[e] * design.padded_samples();
      double sum = 0;
      for (int64_t w = 0; w < masks.num_words; ++w) {
        const uint64_t word = masks.word(w, row);
        for (int64_t i = 0; i < kSamplesPerWord; ++i) {
          const double x = column[w * kSamplesPerWord + i];
          sum += (word >> i & 1) != 0 ? x * x : 0;
        }
      }
      norms[e] = std::sqrt(sum);
    }
  });
  return norms;
}

Conditioning MeasureConditioning(Engine& engine, const Design& design, const GateMasks& masks,
                                 const SparseRows& support, const std::vector<double>& norms,
                                 int64_t num_weights) {
  Conditioning conditioning;
  const auto size = static_cast<Index>(support.nonzeros());
  const bool dependent = size > design.num_samples ||
                         std::any_of(norms.begin(), norms.end(), [](double x) { return x == 0; });
  // A column of zeros has no direction; its products are 0 whatever it is divided by.
  std::vector<double> divisors = norms;
  std::replace(divisors.begin(), divisors.end(), 0.0, 1.0);
  NormalOperator normal(engine, design, masks, support, divisors);
  const Operator apply = [&normal](const VectorXd& vector) { return normal(vector); };
  const Operator identity = [](const VectorXd& vector) { return vector; };
  const VectorXd start = RandomUnitVector(size);
  const double product_cost =
      2 * static_cast<double>(size) * static_cast<double>(design.num_samples);
  const int max_products =
      std::clamp(static_cast<int>(kMaxMultiplyAdds / product_cost), kMinProducts, kMaxProducts);

  Eigenvalue largest;
  Eigenvalue smallest = {.value = 0, .converged = true};
  if (size > kMaxDenseWeights) {
    largest = ExtremeEigenvalue(engine, Extreme::kLargest, apply, identity, start, max_products);
    if (!dependent) {
      smallest =
          ExtremeEigenvalue(engine, Extreme::kSmallest, apply, identity, start, max_products);
    }
  } else {
    const NormalFactor dense = FactoriseNormalMatrix(engine, design, masks, support, divisors);
    const Operator apply_dense = [&dense](const VectorXd& vector) -> VectorXd {
      return dense.matrix * vector;
    };
    largest =
        ExtremeEigenvalue(engine, Extreme::kLargest, apply_dense, identity, start, kDenseProducts);
    if (!dependent && !engine.stop_requested()) {
      VectorXd x = start;
      for (int k = 0; k < kInverseIterations; ++k) x = dense.factor.solve(x).normalized();
      const Operator precondition = [&dense](const VectorXd& vector) -> VectorXd {
        return dense.factor.solve(vector);
      };
      smallest =
          ExtremeEigenvalue(engine, Extreme::kSmallest, apply, precondition, x, max_products);
      if (smallest.value > kDependent && num_weights > 0) {
        const Eigen::Map<const VectorXd> weights(support.value.data(), num_weights);
        const Eigen::Map<const VectorXd> scale(norms.data(), num_weights);
        conditioning.smallest_saliency =
            SmallestSaliency(engine, dense.factor, weights.cwiseProduct(scale).cwiseAbs2());
      }
    }
  }
  conditioning.largest_eigenvalue = largest.value;
  conditioning.smallest_eigenvalue = smallest.value > kDependent ? smallest.value : 0;
  conditioning.is_bound = !largest.converged || !smallest.converged;
  return conditioning;
}

}  // namespace thresher

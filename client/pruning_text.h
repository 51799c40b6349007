#ifndef THRESHER_CLIENT_PRUNING_TEXT_H_
#define THRESHER_CLIENT_PRUNING_TEXT_H_

#include <string>
#include <vector>

#include "client/formatting.h"
#include "thresher/v1/pruning.pb.h"

namespace thresher::client {

// "at most 50 weights", "2.0 % of the weights", "8 budgets of 10 to 500 weights".
std::string BudgetText(const v1::ModelPruningOptions& options);

// "50", "2.0 %", "path": the same for a column.
std::string BudgetColumn(const v1::ModelPruningOptions& options);

// "distill, targets network, loss cross_entropy, seed 0": how a model is pruned.
std::string MethodText(const v1::ModelPruningOptions& options);

// "round 3, epoch 12", "budget 50 of the path, epoch 12", "pruned at once".
std::string EpochText(const v1::EpochReport& report);

// Why the pruning ended, in a sentence.
std::string PruningEndSentence(const v1::PruningReport& report);

// "loss 0.12, 97.1 % right": an epoch or a fit.
std::string LossText(const v1::EpochReport& report);
std::string LossText(const v1::PruningFit& fit);
std::string PruningFitText(const v1::PruningFit& fit);

// The fit of a pruned model beside that of the model as given: "97.1 % right, 0.9 points less than
// as given". Both are of the same samples.
std::string ChangeText(const v1::PruningFit& fit, const v1::PruningFit& given);

// "50 weights in 8 hidden neurons", and of a model "of 2610 in 40: 1.9 %".
std::string NetworkText(const v1::PruningReport& report);

// Whether the fits are against the given model's outputs: of samples without targets.
bool IsAgainstGiven(const v1::PruningReport& report);

// Of a model that was pruned: a table of before and after, and the path's with the knee marked,
// each behind an empty line. Nothing for a network that was trained.
std::string PruningPage(const v1::PruningReport& report);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_PRUNING_TEXT_H_

#ifndef THRESHER_CLIENT_PATH_TEXT_H_
#define THRESHER_CLIENT_PATH_TEXT_H_

#include <string>

#include "thresher/v1/recovery.pb.h"

namespace thresher::client {

// "80 weights", "20 to 80 weights, chosen by information": the budget of a job in words.
std::string BudgetText(const v1::RecoverySpec& spec);

// "80", "20-80": the same for a column.
std::string BudgetColumn(const v1::RecoverySpec& spec);

// The path as a table with the chosen row marked, after an empty line and a heading; nothing
// where the report has no path.
std::string PathPage(const v1::RecoveryReport& report);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_PATH_TEXT_H_

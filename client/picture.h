// Pictures of results, drawn by gnuplot: this file writes its scripts and runs it.
#ifndef THRESHER_CLIENT_PICTURE_H_
#define THRESHER_CLIENT_PICTURE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "thresher/v1/job.pb.h"
#include "thresher/v1/sweep.pb.h"

namespace thresher::client {

enum class PictureFormat { kPng, kSvg };

// By the ending of the file's name, .png or .svg. Errors: INVALID_ARGUMENT.
absl::StatusOr<PictureFormat> PictureFormatOf(const std::string& path);

enum class PictureKind {
  kHeatmap,  // a panel a method, x and y parameters, the value as colour
  kLine,     // the value over x, a line for each method and each value of the other parameters
  kCompare,  // lines: the main measure, of classes the error, time and memory over x, side by side;
             // over what the networks have where x is the budget
};

struct PictureOptions {
  PictureKind kind = PictureKind::kHeatmap;
  std::string x = "nonzeros";      // of SweepParameters()
  std::string y = "hidden_width";  // the same; kHeatmap only
  std::string value;               // of SweepMeasures(); empty: the main one. Not for kCompare
};

// A gnuplot script that draws to its standard output. Cells that agree in what is shown are
// averaged: over seeds, and in a heat map over the parameters that are no axis; success thereby
// becomes its rate. All text in it is in quotes that gnuplot does not look into.
// Errors: INVALID_ARGUMENT when the options name nothing known or no row has the value.
absl::StatusOr<std::string> PictureScript(const v1::SweepReport& report,
                                          const PictureOptions& options, PictureFormat format);

// A script as above for the progress of one recovery or pruning: relative residual, or loss, over
// iterations or epochs, on a logarithmic axis. Errors: INVALID_ARGUMENT when nothing can be drawn.
absl::StatusOr<std::string> ConvergenceScript(const std::vector<v1::JobEvent>& events,
                                              PictureFormat format);

// A text as a string of gnuplot: in single quotes, without control characters, backquotes and
// quotes of its own, which become apostrophes.
std::string GnuplotString(const std::string& text);

// Runs gnuplot on the script and writes the picture to `path`, all or nothing.
// Errors: FAILED_PRECONDITION when gnuplot is not installed; INVALID_ARGUMENT when `path` cannot be
// written; INTERNAL with gnuplot's words.
absl::Status DrawPicture(const std::string& script, const std::string& path);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_PICTURE_H_

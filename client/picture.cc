#include "client/picture.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/formatting.h"
#include "client/sweep_text.h"

extern char** environ;

namespace thresher::client {
namespace {

// What is better than this is drawn at it: a residual of rounding is 130 to 170 dB.
constexpr double kLargestDecibel = 200;
constexpr size_t kMaxMessageBytes = 2000;
// viridis: even steps look even, in print and to the colour-blind.
constexpr char kPalette[] =
    "set palette defined (0 '#440154', 1 '#414487', 2 '#2a788e', 3 '#22a884', 4 '#7ad151', "
    "5 '#fde725')\n";

std::string AxisLabel(const std::string& name) {
  static const std::map<std::string, std::string>& labels =
      *new std::map<std::string, std::string>{{"hidden_width", "hidden width"},
                                              {"nonzeros", "non-zeros"},
                                              {"num_samples", "samples"},
                                              {"seed", "seed"},
                                              {"psnr_db", "PSNR (dB)"},
                                              {"relative_residual", "relative residual"},
                                              {"accuracy", "accuracy"},
                                              {"error", "error, share named wrong"},
                                              {"success", "share of successes"},
                                              {"seconds", "time (s)"},
                                              {"memory_bytes", "predicted memory (MiB)"},
                                              {"network_nonzeros", "non-zeros of the network"},
                                              {"active_neurons", "active neurons"}};
  const auto found = labels.find(name);
  return found == labels.end() ? name : found->second;
}

bool IsOneOf(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

absl::Status CheckName(const std::vector<std::string>& names, const std::string& name,
                       const char* what) {
  if (IsOneOf(names, name)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": \"", Printable(name), "\" is none of ", absl::StrJoin(names, ", ")));
}

std::optional<double> Drawn(const v1::SweepCell& row, const std::string& name) {
  std::optional<double> value = ValueOf(row, name);
  if (!value || std::isnan(*value)) return std::nullopt;
  if (name == "psnr_db") value = std::clamp(*value, -kLargestDecibel, kLargestDecibel);
  if (name == "memory_bytes") value = *value / (1 << 20);
  if (std::isinf(*value)) return std::nullopt;
  return value;
}

std::string Number(double value) { return absl::StrFormat("%.9g", value); }

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void Add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return sum / static_cast<double>(count); }
};

// Numbers that are one or two decades apart are told apart on a logarithmic axis only.
bool WantsLogarithm(const std::set<double>& values, double factor = 20) {
  return values.size() > 1 && *values.begin() > 0 && *values.rbegin() / *values.begin() > factor;
}

// With some room at the ends, the same for all panels of a picture.
std::string RangeOf(const std::set<double>& values, bool logarithm) {
  if (values.size() < 2) return "[*:*]";
  const double low = *values.begin();
  const double high = *values.rbegin();
  constexpr double kRoom = 0.05;  // of the axis
  if (logarithm) {
    const double factor = std::pow(high / low, kRoom);
    return absl::StrCat("[", Number(low / factor), ":", Number(high * factor), "]");
  }
  const double room = kRoom * (high - low);
  return absl::StrCat("[", Number(low - room), ":", Number(high + room), "]");
}

constexpr size_t kHeight = 480;  // pixels

std::string Terminal(PictureFormat format, size_t width, size_t height) {
  return absl::StrCat("set encoding utf8\nset terminal ",
                      format == PictureFormat::kPng ? "pngcairo" : "svg", " noenhanced size ",
                      width, ",", height, " font 'sans,11'\n");
}

std::string Terminal(PictureFormat format, size_t panels) {
  return Terminal(format, 120 + 520 * panels, kHeight);
}

std::vector<std::string> MethodsOf(const v1::SweepReport& report) {
  std::vector<std::string> methods;
  for (const v1::SweepCell& row : report.rows()) {
    if (!IsOneOf(methods, row.method())) methods.push_back(row.method());
  }
  return methods;
}

absl::Status NothingToDraw(const std::string& value) {
  return absl::InvalidArgumentError(
      absl::StrCat("no cell has a value of ", value, " to draw; see the table for what there is"));
}

// The numbers of a panel, white on dark cells and black on bright ones; nothing where cells are too
// many to hold them. Appends data blocks to `script` and returns what is plotted over the cells.
std::string CellNumbers(const std::map<std::pair<double, double>, Mean>& grid,
                        const std::set<double>& xs, const std::set<double>& ys, size_t panel,
                        const std::string& value, std::pair<double, double> range,
                        std::string* script) {
  constexpr size_t kMostCells = 100;
  constexpr size_t kMostColumns = 12;
  constexpr double kBright = 0.6;  // of the colour range
  if (xs.size() > kMostColumns || xs.size() * ys.size() > kMostCells) return "";
  const auto index = [](const std::set<double>& values, double each) {
    return std::distance(values.begin(), values.find(each));
  };
  std::string dark, bright;
  for (const auto& [at, mean] : grid) {
    const double share = (mean.value() - range.first) / (range.second - range.first);
    // A share of samples is not 1 where it is not whole, nor a better fit the one it is drawn at.
    const std::string number = value == "accuracy" ? absl::StrFormat("%.4g", mean.value())
                               : value == "psnr_db" && mean.value() >= kLargestDecibel
                                   ? absl::StrCat("\u2265", Number(kLargestDecibel))
                                   : absl::StrFormat("%.3g", mean.value());
    absl::StrAppend(share < kBright ? &dark : &bright, index(xs, at.second), " ",
                    index(ys, at.first), " ", number, "\n");
  }
  std::string plots;
  for (const auto& [name, text, colour] :
       {std::tuple("dark", &dark, "white"), std::tuple("bright", &bright, "black")}) {
    if (text->empty()) continue;
    absl::StrAppend(script, "$", name, panel, " << END_OF_NUMBERS\n", *text, "END_OF_NUMBERS\n");
    absl::StrAppend(&plots, ", $", name, panel, " using 1:2:3 with labels font 'sans,9' textcolor ",
                    "rgb '", colour, "' notitle");
  }
  return plots;
}

absl::StatusOr<std::string> Heatmap(const v1::SweepReport& report, const PictureOptions& options,
                                    const std::string& value, PictureFormat format) {
  const std::vector<std::string> methods = MethodsOf(report);
  // Columns and rows have equal widths, whatever numbers they stand for.
  std::set<double> xs, ys;
  std::map<std::string, std::map<std::pair<double, double>, Mean>> cells;
  for (const v1::SweepCell& row : report.rows()) {
    const double x = *ValueOf(row, options.x);
    const double y = *ValueOf(row, options.y);
    xs.insert(x);
    ys.insert(y);
    if (const auto drawn = Drawn(row, value)) cells[row.method()][{y, x}].Add(*drawn);
  }
  if (cells.empty()) return NothingToDraw(value);
  double low = INFINITY, high = -INFINITY;
  for (const auto& [method, grid] : cells) {
    for (const auto& [at, mean] : grid) {
      low = std::min(low, mean.value());
      high = std::max(high, mean.value());
    }
  }
  if (value == "success" || value == "accuracy") std::tie(low, high) = std::pair(0.0, 1.0);
  if (low == high) high = low + 1;
  const auto tics = [](const std::set<double>& values) {
    std::vector<std::string> entries;
    size_t index = 0;
    // Labels of more would overlap.
    const size_t stride = (values.size() + 15) / 16;
    for (const double each : values) {
      if (index % stride == 0) entries.push_back(absl::StrCat("'", Number(each), "' ", index));
      ++index;
    }
    return absl::StrJoin(entries, ", ");
  };
  std::string script = Terminal(format, methods.size());
  std::vector<std::string> numbers;
  for (size_t i = 0; i < methods.size(); ++i) {
    absl::StrAppend(&script, "$panel", i, " << END_OF_PANEL\n");
    for (const double y : ys) {
      std::vector<std::string> line;
      for (const double x : xs) {
        const auto& grid = cells[methods[i]];
        const auto found = grid.find({y, x});
        line.push_back(found == grid.end() ? "NaN" : Number(found->second.value()));
      }
      absl::StrAppend(&script, absl::StrJoin(line, " "), "\n");
    }
    absl::StrAppend(&script, "END_OF_PANEL\n");
    numbers.push_back(CellNumbers(cells[methods[i]], xs, ys, i, value, {low, high}, &script));
  }
  absl::StrAppend(&script, "set multiplot layout 1,", methods.size(), "\n", kPalette,
                  "set cbrange [", Number(low), ":", Number(high), "]\n", "set cblabel ",
                  GnuplotString(AxisLabel(value)), "\n", "set xlabel ",
                  GnuplotString(AxisLabel(options.x)), "\n", "set ylabel ",
                  GnuplotString(AxisLabel(options.y)), "\n", "set xtics rotate by -45 (", tics(xs),
                  ")\nset ytics (", tics(ys), ")\n",
                  "set xrange [-0.5:", Number(static_cast<double>(xs.size()) - 0.5), "]\n",
                  "set yrange [-0.5:", Number(static_cast<double>(ys.size()) - 0.5), "]\n");
  for (size_t i = 0; i < methods.size(); ++i) {
    absl::StrAppend(&script, "set title ", GnuplotString(methods[i]), "\nplot $panel", i,
                    " matrix with image notitle", numbers[i], "\n");
  }
  return absl::StrCat(script, "unset multiplot\n");
}

// The lines of a picture: one for each method and each value of the other parameters.
struct Line {
  std::string label;
  size_t method = 0;   // index in the order of the report
  size_t variant = 0;  // of the other parameters' values
  bool drawn = false;  // in some panel
};

class Lines {
 public:
  Lines(const v1::SweepReport& report, const std::string& x) {
    // What tells the lines of one method apart: parameters that vary, other than x and the seed.
    for (const std::string& parameter : SweepParameters()) {
      if (parameter == x || parameter == "seed") continue;
      std::map<std::string, std::set<double>> values;
      for (const v1::SweepCell& row : report.rows()) {
        values[row.method()].insert(*ValueOf(row, parameter));
      }
      if (std::any_of(values.begin(), values.end(),
                      [](const auto& of_method) { return of_method.second.size() > 1; })) {
        others_.push_back(parameter);
      }
    }
    const std::vector<std::string> methods = MethodsOf(report);
    for (const v1::SweepCell& row : report.rows()) {
      const std::string variant = VariantOf(row);
      if (Find(row) != nullptr) continue;
      const auto method = std::find(methods.begin(), methods.end(), row.method());
      variants_.try_emplace(variant, variants_.size());
      lines_.push_back({.label = row.method() + variant,
                        .method = static_cast<size_t>(method - methods.begin()),
                        .variant = variants_[variant]});
    }
    parts_both_ = methods.size() > 1 && variants_.size() > 1;
  }

  Line* Find(const v1::SweepCell& row) {
    const std::string label = row.method() + VariantOf(row);
    const auto found = std::find_if(lines_.begin(), lines_.end(),
                                    [&label](const Line& line) { return line.label == label; });
    return found == lines_.end() ? nullptr : &*found;
  }

  // Colour and point say the method and dashes the rest where both vary; else dashes tell lines
  // apart where colours are used up.
  std::string Style(const Line& line) const {
    // Those of gnuplot, without its yellow, which white paper hides.
    static constexpr const char* kColours[] = {"#9400d3", "#009e73", "#56b4e9", "#e69f00",
                                               "#cc79a7", "#0072b2", "#e51e10", "#000000"};
    static constexpr const char* kDashes[] = {
        "1", "2", "3", "(12,4,2,4)", "(12,4,2,4,2,4)", "(20,6)", "(2,8)", "(20,4,6,4)"};
    static constexpr size_t kNumPoints = 10;
    static constexpr size_t kFirstPoint = 4;  // those before are crosses, hard to see
    const auto index = static_cast<size_t>(&line - lines_.data());
    const size_t colour = parts_both_ ? line.method : index;
    const size_t dashes = parts_both_ ? line.variant : index / std::size(kColours);
    return absl::StrCat("with linespoints linewidth 2 linecolor rgb '",
                        kColours[colour % std::size(kColours)], "' dashtype ",
                        kDashes[dashes % std::size(kDashes)], " pointtype ",
                        kFirstPoint + (colour + dashes / std::size(kDashes)) % kNumPoints);
  }

  const std::vector<Line>& lines() const { return lines_; }

 private:
  std::string VariantOf(const v1::SweepCell& row) const {
    std::string text;
    for (const std::string& parameter : others_) {
      absl::StrAppend(&text, ", ", AxisLabel(parameter), " ", Number(*ValueOf(row, parameter)));
    }
    return text;
  }

  std::vector<std::string> others_;
  std::map<std::string, size_t> variants_;
  std::vector<Line> lines_;
  bool parts_both_ = false;
};

// Data and axes of one panel of lines, and in `plots` its lines, which the legend names.
struct Panel {
  std::string script;
  std::vector<std::string> plots;
};

// A point for each value of the parameter x, drawn at the mean of `at`.
absl::StatusOr<Panel> LinePanel(const v1::SweepReport& report, const std::string& x,
                                const std::string& at, const std::string& value,
                                const std::string& name, Lines* lines) {
  struct Point {
    Mean at;
    Mean value;
  };
  std::map<const Line*, std::map<double, Point>> points;
  std::set<double> xs, drawn_values;
  for (const v1::SweepCell& row : report.rows()) {
    const auto drawn = Drawn(row, value);
    const auto drawn_at = Drawn(row, at);
    if (drawn_at) xs.insert(*drawn_at);
    if (!drawn || !drawn_at) continue;
    Line* line = lines->Find(row);
    line->drawn = true;
    Point& point = points[line][*ValueOf(row, x)];
    point.at.Add(*drawn_at);
    point.value.Add(*drawn);
    drawn_values.insert(*drawn);
  }
  if (points.empty()) return NothingToDraw(value);
  Panel panel;
  for (const Line& line : lines->lines()) {
    const auto found = points.find(&line);
    if (found == points.end()) continue;
    const std::string block = absl::StrCat("$", name, panel.plots.size());
    absl::StrAppend(&panel.script, block, " << END_OF_LINE\n");
    for (const auto& [parameter, point] : found->second) {
      absl::StrAppend(&panel.script, Number(point.at.value()), " ", Number(point.value.value()),
                      "\n");
    }
    absl::StrAppend(&panel.script, "END_OF_LINE\n");
    panel.plots.push_back(absl::StrCat(block, " ", lines->Style(line), " notitle"));
  }
  const bool logarithm_x = WantsLogarithm(xs);
  // Of errors the small ones matter.
  const bool logarithm_y =
      ((value == "seconds" || value == "memory_bytes" || value == "relative_residual") &&
       WantsLogarithm(drawn_values)) ||
      (value == "error" && WantsLogarithm(drawn_values, 5));
  absl::StrAppend(&panel.script, "unset logscale\n", logarithm_x ? "set logscale x\n" : "",
                  logarithm_y ? "set logscale y\n" : "", "set xrange ", RangeOf(xs, logarithm_x),
                  "\nset xlabel ", GnuplotString(AxisLabel(at)), "\nset ylabel ",
                  GnuplotString(AxisLabel(value)), "\nset grid\n");
  return panel;
}

// Panels in a row and one legend beside them; the picture is as wide and as tall as that needs.
std::string WithLegend(const std::vector<Panel>& panels, const Lines& lines, PictureFormat format) {
  // Pixels. Gnuplot would take the room of a legend from the last panel alone.
  constexpr size_t kPanelWidth = 520;
  constexpr size_t kLeft = 90, kRight = 20, kTop = 25, kBottom = 65;
  constexpr size_t kLetterWidth = 8, kSampleWidth = 75, kEntryHeight = 20;
  size_t longest = 0;
  std::vector<std::string> entries;
  for (const Line& line : lines.lines()) {
    if (!line.drawn) continue;
    longest = std::max(longest, static_cast<size_t>(DisplayWidth(Printable(line.label))));
    entries.push_back(
        absl::StrCat("keyentry ", lines.Style(line), " title ", GnuplotString(line.label)));
  }
  const size_t width = kPanelWidth * panels.size() + kSampleWidth + kLetterWidth * longest;
  const size_t height = std::max(kHeight, kTop + kEntryHeight * entries.size() + kBottom);
  const auto share = [](size_t pixels, size_t of) {
    return Number(static_cast<double>(pixels) / static_cast<double>(of));
  };
  std::string script = absl::StrCat(
      Terminal(format, width, height), "set multiplot\nset tmargin at screen ",
      share(height - kTop, height), "\nset bmargin at screen ", share(kBottom, height), "\n");
  for (size_t i = 0; i < panels.size(); ++i) {
    const bool last = i + 1 == panels.size();
    std::vector<std::string> plots = panels[i].plots;
    if (last) plots.insert(plots.end(), entries.begin(), entries.end());
    absl::StrAppend(
        &script, panels[i].script, "set lmargin at screen ", share(kPanelWidth * i + kLeft, width),
        "\nset rmargin at screen ", share(kPanelWidth * (i + 1) - kRight, width), "\n",
        last ? absl::StrCat("set key at screen ", share(kPanelWidth * panels.size(), width), ",",
                            share(height - kTop, height),
                            " left top Left reverse vertical maxcols 1 samplen 4 height 0\n")
             : "unset key\n",
        "plot ", absl::StrJoin(plots, ", "), "\n");
  }
  return script + "unset multiplot\n";
}

std::string Why(int error) { return std::error_code(error, std::generic_category()).message(); }

// A file without a name.
absl::StatusOr<int> Scratch() {
  std::FILE* file = std::tmpfile();
  if (file == nullptr) return absl::InternalError("no temporary file: " + Why(errno));
  const int descriptor = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
  std::fclose(file);
  if (descriptor < 0) return absl::InternalError("no temporary file: " + Why(errno));
  return descriptor;
}

bool WriteAll(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written < 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// gnuplot with these as its standard input, output and error. Files, not pipes: none can fill up.
absl::Status RunGnuplot(int in, int out, int err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  std::string program = "gnuplot";
  std::string defaults = "-d";  // reads none of the user's settings
  char* arguments[] = {program.data(), defaults.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    return absl::FailedPreconditionError(
        "pictures are drawn by gnuplot, which is not installed; on Debian: apt-get install "
        "gnuplot-nox");
  }
  if (error != 0) return absl::InternalError("cannot run gnuplot: " + Why(error));
  int how = 0;
  while (waitpid(child, &how, 0) < 0) {
    if (errno != EINTR) return absl::InternalError("cannot wait for gnuplot: " + Why(errno));
  }
  if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return absl::OkStatus();
  std::string words(kMaxMessageBytes, '\0');
  const ssize_t size = pread(err, words.data(), words.size(), 0);
  words.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  return absl::InternalError("gnuplot failed: " + words);
}

}  // namespace

absl::StatusOr<PictureFormat> PictureFormatOf(const std::string& path) {
  if (absl::EndsWith(path, ".png")) return PictureFormat::kPng;
  if (absl::EndsWith(path, ".svg")) return PictureFormat::kSvg;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": the name of a picture ends in .png or .svg"));
}

std::string GnuplotString(const std::string& text) {
  // Not doubled, as gnuplot's manual says: 5.4 does not take a string that begins with one so.
  return absl::StrCat("'", absl::StrReplaceAll(Printable(text), {{"'", "\u2019"}, {"`", "?"}}),
                      "'");
}

absl::StatusOr<std::string> PictureScript(const v1::SweepReport& report,
                                          const PictureOptions& options, PictureFormat format) {
  const std::string value = options.value.empty() ? MainMeasure(report) : options.value;
  absl::Status status = CheckName(SweepParameters(), options.x, "--x");
  if (status.ok()) status = CheckName(SweepMeasures(), value, "--value");
  if (!status.ok()) return status;
  switch (options.kind) {
    case PictureKind::kHeatmap:
      status = CheckName(SweepParameters(), options.y, "--y");
      if (!status.ok()) return status;
      if (options.x == options.y) {
        return absl::InvalidArgumentError("--y: must be another parameter than --x");
      }
      return Heatmap(report, options, value, format);
    case PictureKind::kLine:
    case PictureKind::kCompare: {
      const v1::SweepReport with_given = WithGivenModel(report);
      const bool compares = options.kind == PictureKind::kCompare;
      const std::string at = compares && options.x == "nonzeros" ? "network_nonzeros" : options.x;
      std::vector<std::string> values = {value};
      if (compares) {
        const std::string main = MainMeasure(report);
        values = {main == "accuracy" ? "error" : main, "seconds", "memory_bytes"};
      }
      Lines lines(with_given, options.x);
      std::vector<Panel> panels;
      for (const std::string& each : values) {
        auto panel = LinePanel(with_given, options.x, at, each,
                               absl::StrCat("panel", panels.size(), "line"), &lines);
        if (!panel.ok()) return panel.status();
        panels.push_back(*std::move(panel));
      }
      return WithLegend(panels, lines, format);
    }
  }
  return absl::InternalError("no such kind of picture");
}

absl::StatusOr<std::string> ConvergenceScript(const std::vector<v1::JobEvent>& events,
                                              PictureFormat format) {
  std::string points;
  bool epochs = false;
  for (const v1::JobEvent& event : events) {
    epochs = epochs || event.has_pruning_progress();
    const double value = event.has_pruning_progress() ? event.pruning_progress().loss()
                         : event.has_progress()       ? event.progress().relative_residual()
                                                      : 0;
    const int64_t at = event.has_pruning_progress() ? event.pruning_progress().iteration()
                                                    : event.progress().iteration();
    // A logarithmic axis has no place for others.
    if (value > 0 && std::isfinite(value)) absl::StrAppend(&points, at, " ", Number(value), "\n");
  }
  if (points.empty()) {
    return absl::InvalidArgumentError("the job has no progress to draw; a sweep has sweep plot");
  }
  return absl::StrCat(Terminal(format, 1), "$progress << END_OF_LINE\n", points,
                      "END_OF_LINE\nset logscale y\nset format y '%.0e'\nset grid\nset xlabel ",
                      epochs ? "'epoch'" : "'iteration'", "\nset ylabel ",
                      epochs ? "'loss'" : "'relative residual'",
                      "\nplot $progress with lines linewidth 2 notitle\n");
}

absl::Status DrawPicture(const std::string& script, const std::string& path) {
  std::vector<int> open;
  const absl::Cleanup close_all = [&open] {
    for (const int descriptor : open) close(descriptor);
  };
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<int> scratch = Scratch();
    if (!scratch.ok()) return scratch.status();
    open.push_back(*scratch);
  }
  const int in = open[0], err = open[1];
  if (!WriteAll(in, script) || lseek(in, 0, SEEK_SET) != 0) {
    return absl::InternalError("cannot write a temporary file: " + Why(errno));
  }
  std::string temporary = path + ".XXXXXX";
  const int out = mkostemp(temporary.data(), O_CLOEXEC);
  if (out < 0) return absl::InvalidArgumentError(absl::StrCat(path, ": ", Why(errno)));
  open.push_back(out);
  absl::Status status = RunGnuplot(in, out, err);
  // mkostemp lets nobody else read.
  if (status.ok() && (fchmod(out, 0644) != 0 || fsync(out) != 0 ||
                      std::rename(temporary.c_str(), path.c_str()) != 0)) {
    status = absl::InvalidArgumentError(absl::StrCat(path, ": ", Why(errno)));
  }
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace thresher::client

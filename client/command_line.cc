#include "client/command_line.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command_flags.h"
#include "client/formatting.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;

constexpr char kFooter[] = R"(
Exit codes: 0 done; 1 unexpected error; 2 wrong command line, or a file it names cannot be
used; 3 the server refused, failed or was out of reach; 4 the watched job failed; 5 the
watched job was cancelled; 130 interrupted (Ctrl-C stops watching, never the job).

Resources are named by their id (abc) or in full (jobs/abc).
`thresher COMMAND --help` explains the flags of a command.)";

// A resource named by its id or in full becomes its full name.
std::string FullName(const std::string& flag, const std::string& collection,
                     const std::string& text) {
  const std::string prefix = collection + "/";
  std::string id = text;
  if (absl::StartsWith(id, prefix)) id.erase(0, prefix.size());
  if (id.empty() || id.find('/') != std::string::npos) {
    throw CLI::ValidationError(flag, absl::StrCat("\"", text, "\" is no name of one of the ",
                                                  collection, "; give ID or ", prefix, "ID"));
  }
  return prefix + id;
}

void AddServerCommands(CLI::App* root, Parameters* p) {
  CLI::App* server = AddCommand(root, "server", "Ask about the server");
  server->require_subcommand(1);
  AddCommand(server, "info", "Version, workers, queue and memory")->callback([p] {
    p->line.command = ServerInfoCommand();
  });
  // Also without "server" in front, for health checks of containers.
  for (CLI::App* parent : {server, root}) {
    AddCommand(parent, "health", "Exit code 0 only when the server is SERVING")->callback([p] {
      p->line.command = HealthCommand();
    });
  }
}

// A word of the command line that is neither command nor flag, and the known one nearest to it.
struct UnknownWord {
  std::string word;
  std::string nearest;  // empty when none is near
};

// The first unknown word, by walking the arguments as CLI11 does.
std::optional<UnknownWord> FindUnknownWord(const CLI::App& root,
                                           const std::vector<std::string>& arguments) {
  const CLI::App* app = &root;
  bool skip_value = false;
  for (const std::string& argument : arguments) {
    if (std::exchange(skip_value, false)) continue;
    if (absl::StartsWith(argument, "--")) {
      const std::string flag = argument.substr(0, argument.find('='));
      std::vector<std::string> known;
      const CLI::Option* found = nullptr;
      for (const CLI::App* level = app; level != nullptr; level = level->get_parent()) {
        for (const CLI::Option* option : level->get_options()) {
          for (const std::string& name : option->get_lnames()) {
            known.push_back("--" + name);
            if (known.back() == flag && found == nullptr) found = option;
          }
        }
      }
      if (found == nullptr) return UnknownWord{flag, NearestWord(flag, known)};
      skip_value = found->get_expected_max() > 0 && flag == argument;
      continue;
    }
    std::vector<std::string> known;
    const CLI::App* next = nullptr;
    for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
      known.push_back(command->get_name());
      if (known.back() == argument) next = command;
    }
    if (next != nullptr) {
      app = next;
    } else if (!known.empty()) {
      return UnknownWord{argument, NearestWord(argument, known)};
    }
  }
  return std::nullopt;
}

// The command that was given, as far as it could be parsed, and the words that say it.
struct GivenCommand {
  CLI::App* app;
  std::string words;
};
GivenCommand FindGivenCommand(CLI::App* root) {
  GivenCommand given = {root, "thresher"};
  while (!given.app->get_subcommands().empty()) {
    given.app = given.app->get_subcommands().front();
    given.words += " " + given.app->get_name();
  }
  return given;
}

std::string HelpText(CLI::App* root) {
  const GivenCommand given = FindGivenCommand(root);
  given.app->name("");
  return given.app->help(given.words);
}

// "thresher jobs needs a command: list, get", or nothing when it has one.
std::string MissingCommand(CLI::App* root) {
  const GivenCommand given = FindGivenCommand(root);
  std::vector<std::string> names;
  for (const CLI::App* each : given.app->get_subcommands([](CLI::App*) { return true; })) {
    names.push_back(each->get_name());
  }
  if (names.empty()) return "";
  return absl::StrCat(given.words, " needs a command: ", absl::StrJoin(names, ", "));
}

}  // namespace

bool ParseFlag(const std::string& text, std::string* value) {
  *value = text;
  return true;
}
bool ParseFlag(const std::string& text, double* value) { return absl::SimpleAtod(text, value); }

int64_t AsSigned(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

CLI::Option* AddDuration(CLI::App* app, const std::string& flag,
                         std::function<void(milliseconds)> set, const std::string& help) {
  const auto parse = [flag, set = std::move(set)](const std::string& text) {
    const auto duration = ParseDuration(text);
    if (!duration.ok()) {
      throw CLI::ValidationError(flag, std::string(duration.status().message()));
    }
    set(*duration);
  };
  return app->add_option_function<std::string>(flag, parse, help)->type_name("TIME");
}

CLI::Option* AddName(CLI::App* app, const std::string& flag, const std::string& collection,
                     std::function<void(std::string)> set, const std::string& help) {
  return app
      ->add_option_function<std::string>(
          flag,
          [flag, collection, set = std::move(set)](const std::string& text) {
            set(FullName(flag, collection, text));
          },
          help)
      ->type_name("ID");
}

CLI::App* AddCommand(CLI::App* parent, const std::string& name, const std::string& help) {
  // Global flags are understood after the command too.
  return parent->add_subcommand(name, help)->fallthrough();
}

void AddStandardCommands(CLI::App* parent, Parameters* p, Collection collection,
                         const std::string& plural, const std::string& singular) {
  const auto index = static_cast<size_t>(collection);
  ListCommand* list_command = &p->lists[index];
  GetCommand* get_command = &p->gets[index];
  DeleteCommand* delete_command = &p->deletes[index];

  CLI::App* list = AddCommand(parent, "list", absl::StrCat("List ", plural, ", newest first"));
  list->add_option("--filter", list_command->filter,
                   collection == Collection::kJobs
                       ? "Conditions joined by AND: state = RUNNING, labels.team = \"vision\", "
                         "parent = \"jobs/SWEEP\" for the cells of a sweep"
                       : "Conditions joined by AND: labels.team = \"vision\"")
      ->type_name("F");
  AddValue<uint64_t>(
      list, "--limit", [=](auto count) { list_command->limit = AsSigned(count); },
      "Most entries; 0: all (default 50)", "N");
  list->callback([=] { p->line.command = *list_command; });

  CLI::App* get = AddCommand(parent, "get", absl::StrCat("Show one ", singular));
  AddName(
      get, "ID", plural, [=](auto name) { get_command->name = name; }, "Which one")
      ->required();
  get->callback([=] { p->line.command = *get_command; });

  CLI::App* erase = AddCommand(
      parent, "delete",
      absl::StrCat("Delete one ", singular,
                   collection == Collection::kJobs ? " that has ended; its model stays"
                                                   : " that no queued or running job needs"));
  AddName(
      erase, "ID", plural, [=](auto name) { delete_command->name = name; }, "Which one")
      ->required();
  erase->callback([=] { p->line.command = *delete_command; });
}

absl::StatusOr<milliseconds> ParseDuration(const std::string& text) {
  const auto invalid = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not a time such as 90s, 10m, 1h30m or 250ms"));
  };
  constexpr double kLargest = 10.0 * 365 * 86400 * 1000;
  double total = 0;
  std::string_view rest = text;
  if (rest.empty()) return invalid();
  while (!rest.empty()) {
    const size_t number_end = std::min(rest.find_first_not_of("0123456789."), rest.size());
    const size_t unit_end = std::min(rest.find_first_of("0123456789.", number_end), rest.size());
    double number;
    if (!absl::SimpleAtod(std::string(rest.substr(0, number_end)), &number)) return invalid();
    const std::string_view unit = rest.substr(number_end, unit_end - number_end);
    const bool bare = unit.empty() && rest.size() == text.size();
    const double scale = unit == "ms"          ? 1
                         : unit == "s" || bare ? 1000
                         : unit == "m"         ? 60000
                         : unit == "h"         ? 3600000
                         : unit == "d"         ? 86400000
                                               : 0;
    if (scale == 0) return invalid();
    total += number * scale;
    rest.remove_prefix(unit_end);
  }
  if (total < 1 || total > kLargest) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is not between 1 ms and 10 years"));
  }
  return milliseconds(std::llround(total));
}

std::string NearestWord(const std::string& word, const std::vector<std::string>& known) {
  // Edit distance with exchanges of neighbours counted once.
  const auto distance = [](const std::string& a, const std::string& b) {
    std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); ++i) {
      for (size_t j = 0; j <= b.size(); ++j) {
        if (i == 0 || j == 0) {
          d[i][j] = i + j;
          continue;
        }
        d[i][j] =
            std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    return d[a.size()][b.size()];
  };
  std::string best;
  // Nobody mistypes more than a third of a word.
  size_t best_distance = word.size() / 3 + 1;
  if (word.size() > 100) return best;
  for (const std::string& candidate : known) {
    const size_t d = distance(word, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

ParsedCommandLine ParseCommandLine(const std::vector<std::string>& arguments) {
  Parameters parameters;
  Parameters* p = &parameters;
  CLI::App app("Recover sparse neural networks with a thresherd server.", "thresher");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("thresher " THRESHER_VERSION));
  app.add_option("--server", p->line.server,
                 "HOST:PORT or unix:PATH of thresherd (default 127.0.0.1:7700)")
      ->type_name("ADDR")
      ->envname("THRESHER_SERVER");
  app.add_flag("--json", p->line.json,
               "Print one JSON object a line, also for progress; errors as JSON on stderr");
  AddDuration(
      &app, "--timeout", [p](milliseconds timeout) { p->line.timeout = timeout; },
      "Longest time for one call (default 30s; uploads and downloads: none)");
  app.add_flag("--wait_when_full", p->line.wait_when_full,
               "When the server has no room now, try again as it says, until --timeout");
  app.require_subcommand(1);

  AddServerCommands(&app, p);
  CLI::App* datasets = AddCommand(&app, "datasets", "Plant, upload and look after data sets");
  datasets->require_subcommand(1);
  AddPlant(datasets, p);
  AddUpload(datasets, p);
  AddStandardCommands(datasets, p, Collection::kDatasets, "datasets", "dataset");
  AddRecover(&app, p);
  AddPrune(&app, p);
  AddSweep(&app, p);
  AddCompare(&app, p);
  AddJobCommands(&app, p);
  AddModelCommands(&app, p);

  ParsedCommandLine result;
  try {
    // CLI11 takes the arguments last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    result.command_line = std::move(parameters.line);
  } catch (const CLI::CallForHelp&) {
    result.text = HelpText(&app);
  } catch (const CLI::CallForVersion& version) {
    result.text = absl::StrCat(version.what(), "\n");
  } catch (const CLI::ParseError& error) {
    result.exit_code = kExitUsage;
    if (const auto unknown = FindUnknownWord(app, arguments)) {
      const bool flag = absl::StartsWith(unknown->word, "--");
      result.text = absl::StrCat("thresher: there is no ", flag ? "flag " : "command ",
                                 Printable(unknown->word), "\n");
      if (!unknown->nearest.empty()) {
        absl::StrAppend(&result.text, "Did you mean ", unknown->nearest, "?\n");
      }
    } else if (const std::string missing = MissingCommand(&app);
               !missing.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
      result.text = absl::StrCat(missing, "\n");
    } else {
      result.text = absl::StrCat("thresher: ", Printable(error.what()), "\n");
    }
    absl::StrAppend(&result.text, "Try ", FindGivenCommand(&app).words, " --help.\n");
  }
  return result;
}

}  // namespace thresher::client

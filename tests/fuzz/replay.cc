// Stands in for libFuzzer: runs a fuzz target on every file of the corpus folder that is its
// argument, and on damaged copies, cut short at each place and with each byte changed.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// Places of a file that are damaged, evenly spread over longer ones.
constexpr size_t kMaxPlaces = 500;

void Run(const std::string& bytes) {
  // A copy of the exact size, so that AddressSanitizer sees a read past the end.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void RunDamaged(const std::string& bytes) {
  const size_t step = 1 + bytes.size() / kMaxPlaces;
  for (size_t at = 0; at < bytes.size(); at += step) {
    Run(bytes.substr(0, at));
    std::string changed = bytes;
    for (const char value : {static_cast<char>(bytes[at] ^ 0x80), '\0', '\xff'}) {
      changed[at] = value;
      Run(changed);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " CORPUS_FOLDER\n";
    return 2;
  }
  Run("");
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)),
                            std::istreambuf_iterator<char>());
    if (!file) {
      std::cerr << "cannot read " << entry.path() << "\n";
      return 1;
    }
    std::cout << entry.path().filename() << ", " << bytes.size() << " bytes" << std::endl;
    Run(bytes);
    RunDamaged(bytes);
    ++num_files;
  }
  if (num_files == 0) {
    std::cerr << "there is no file in " << argv[1] << "\n";
    return 1;
  }
  return 0;
}

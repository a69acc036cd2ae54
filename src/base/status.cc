// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <cstring>

namespace nibble {

const char* CodeName(Code code) {
  switch (code) {
    case Code::kCheckFailed: return "check failed";
    case Code::kUsage: return "usage";
    case Code::kCorrupt: return "corrupt";
    case Code::kNotFound: return "not found";
    case Code::kUnsupported: return "unsupported";
    case Code::kIo: return "io";
    case Code::kResourceExhausted: return "out of resources";
    case Code::kCancelled: return "interrupted";
    case Code::kInternal: return "internal";
  }
  return "internal";
}

int ExitCode(Code code) {
  switch (code) {
    case Code::kCheckFailed: return 1;
    case Code::kUsage: return 2;
    case Code::kCorrupt:
    case Code::kNotFound: return 3;
    case Code::kUnsupported: return 4;
    case Code::kIo:
    case Code::kResourceExhausted: return 5;
    case Code::kCancelled: return 130;
    case Code::kInternal: return 70;
  }
  return 70;
}

std::string Error::ToString() const { return fmt::format("{}: {}", CodeName(code), message); }

Error Error::In(std::string_view context) && { return Error{code, fmt::format("{}: {}", context, message)}; }

tl::unexpected<Error> IoError(int errno_value, const std::string& what) {
  const Code code = errno_value == ENOSPC || errno_value == ENOMEM || errno_value == EDQUOT ? Code::kResourceExhausted
                    : errno_value == ENOENT                                                 ? Code::kNotFound
                                                                                            : Code::kIo;
  return Fail(code, "{}: {}", what, std::strerror(errno_value));
}

}  // namespace nibble
